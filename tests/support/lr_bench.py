"""Runs the LR range test of one case on a rehearsal, in place of its probes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_runner import Rehearsal, make_case, surroundings
from lr_curves import fall, train
from projects import MIB

from harness.lockfile.profiles import LockedProfile
from harness.lr_range import plot
from harness.measure.learning_rate import with_learning_rate
from harness.measurement import Measurement
from harness.probes.open_cases import OpenCase

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SEEDS = "seeds: [0, 1]"
"""The range test of most tests: at most 400 steps, in trials of 30."""


class Bench:
    """Runs the LR range test of one case at batch 48, whose best learning rate is 1e-2.

    draws: draw the picture of each test, which takes longer than the test.
    """

    def __init__(self, tmp_path: Path, *, draws: bool = False) -> None:
        self.tmp_path = tmp_path
        self._draws = draws
        self.case = make_case(tmp_path)
        self.runner = Rehearsal()
        self.measurement = Measurement(
            axes=dict(self.case.axes),
            device=self.runner.device.identity,
            emulated=True,
            max_batch_size=54,
            bounded_by="memory",
            batch_size=48,
            fingerprint="sha256:f1",
            recipe="sha256:r1",
            memory_limit_bytes=64 * MIB,
            made_with={"torch": "2.13.0"},
        )

    def lock(self, **changes: Any) -> LockedProfile:
        """Lock the same measurement with a learning rate, 1e-2, and its range over 30 steps."""
        values: dict[str, Any] = {"learning_rate": 1e-2, "lr_horizon": 30} | changes
        if rate := values["learning_rate"]:
            values = {
                "learning_rates": (0.9 * rate, 1.1 * rate),
                "learning_rate_range": (rate / 1.5, rate * 1.5),
            } | values
        else:
            values["lr_horizon"] = None
        return replace(LockedProfile.from_measurement(self.measurement), **values)

    def run(self, lr: str = SEEDS, locked: LockedProfile | None = None) -> Measurement:
        """Run the LR range test."""
        self.case = make_case(self.tmp_path, lr=lr)
        opened = OpenCase(
            self.case,
            self.runner,  # type: ignore[arg-type] # stands for a ProbeRunner
            self.runner.description,
            locked,
            surroundings(self.tmp_path),
        )
        with pytest.MonkeyPatch.context() as patch:
            if not self._draws:
                patch.setattr(plot, "plot", lambda *_, **__: None)
            return with_learning_rate(opened, self.measurement)

    def move(self, best: float | Mapping[int, float], *, noise: float = 0.002) -> None:
        """Move the best learning rate, of all seeds or of each one, or change the noise."""

        def of(seed: int) -> float:
            return best if isinstance(best, float) else best[seed]

        self.runner.curve = lambda rates, seed: fall(rates, of(seed), noise=noise, seed=seed)
        self.runner.training = lambda rate, num_steps, seed: train(
            rate, num_steps, best=of(seed), noise=noise, seed=seed
        )
