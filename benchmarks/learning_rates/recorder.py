"""Trains each training once, and keeps its losses in a folder: the rule is replayed on them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from harness.lr_range.suggestion import diverged, geometric_sweep
from harness.lr_range.trials import can_stop, point_of, rate_at
from learning_rates.tasks import losses

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from learning_rates.tasks import Task

LR_MIN, LR_MAX = 1e-6, 10.0
_DIGITS = 7


class Recorder:
    """The losses of one task's trainings; what is not in `folder` is trained, and kept there.

    A training that ends in a loss that is not finite is recorded up to that loss.
    """

    def __init__(self, name: str, task: Task, folder: Path) -> None:
        self._task = task
        self._path = folder / f"{name.replace(',', '').replace(' ', '_')}.jsonl"
        self._recorded: dict[str, list[float]] = {}
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                key, recorded = json.loads(line)
                self._recorded[key] = recorded

    def constant(self, seed: int, point: int, num_steps: int, warm_up: int = 0) -> list[float]:
        """Return the losses at one rate of the grid; with a warm-up it is reached step by step."""
        key = f"warm-up {warm_up} {seed} {point}" if warm_up else f"constant {seed} {point}"
        recorded = self._recorded.get(key, [])
        ended = bool(recorded) and not math.isfinite(recorded[-1])
        if len(recorded) < num_steps and not ended:
            rates = [
                rate_at(point) * min(1.0, (step + 1) / (warm_up + 1)) for step in range(num_steps)
            ]
            recorded = self._train(key, seed, rates)
        return recorded[:num_steps]

    def sweep(self, seed: int, num_steps: int) -> list[float]:
        """Return the losses of a sweep from `LR_MIN` to `LR_MAX`."""
        key = f"sweep {seed} {num_steps}"
        if key not in self._recorded:
            self._train(key, seed, geometric_sweep(LR_MIN, LR_MAX, num_steps))
        return self._recorded[key]

    def _train(self, key: str, seed: int, rates: Sequence[float]) -> list[float]:
        recorded = [float(f"{loss:.{_DIGITS}g}") for loss in losses(self._task, seed, rates)]
        self._recorded[key] = recorded
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps([key, recorded]) + "\n")
        return recorded


class Replayed:
    """The trainings of the range test, from recorded losses; each ends where a probe would end."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def sweep(self, seed: int, learning_rates: Sequence[float]) -> Sequence[float]:
        """Return the raw losses of a sweep, up to where it has diverged."""
        num_steps = len(learning_rates)
        recorded = self._recorder.sweep(seed, num_steps)
        for step in range(1, len(recorded) + 1):
            if diverged(recorded[:step], num_steps):
                return recorded[:step]
        return recorded

    def whole_sweep(self, seed: int, learning_rates: Sequence[float]) -> Sequence[float]:
        """Return the raw losses of a sweep, up to its end or to a loss that is not finite."""
        return self._recorder.sweep(seed, len(learning_rates))

    def trial(
        self, seed: int, learning_rate: float, num_steps: int, ceiling: float | None
    ) -> Sequence[float]:
        """Return the raw losses at one rate, up to where it has diverged."""
        recorded = self._recorder.constant(seed, round(point_of(learning_rate)), num_steps)
        for step in range(1, len(recorded) + 1):
            if can_stop(recorded[:step], ceiling):
                return recorded[:step]
        return recorded
