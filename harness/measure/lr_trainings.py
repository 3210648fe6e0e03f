"""Runs the trainings of an LR range test as probes, and tells how far they are."""

from __future__ import annotations

import logging
import math
import time
from statistics import fmean
from typing import TYPE_CHECKING

from harness.batch_search.training import keeps_memory
from harness.lr_range.find import NoLossesError, OutOfTimeError
from harness.progress.events import tell_phase
from harness.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lr_range.find import Limits
    from harness.lr_range.rate_map import RateMap
    from harness.measurement import LrCurve, Measurement, Probe
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")

# With more seconds between two records of a training a reader would think that it hangs.
_RECORD_SECONDS = 10.0
# A first range test that takes longer is announced with what makes it shorter, in a CI log too.
_LONG_SECONDS = 300.0
_CHEAPER = (
    "lower lr_range.num_training or the number of lr_range.seeds, or set lr_range.when to changed "
    "(only after a change) or never"
)


class ProbeTrainings:
    """The sweeps and trials of a case at one batch size, within `lr_range.max_seconds`."""

    def __init__(
        self, opened: OpenCase, measurement: Measurement, rate_map: RateMap | None
    ) -> None:
        """Prepare trainings; the seconds begin now."""
        self._opened = opened
        self._batch_size = measurement.batch_size
        self._whole_epochs = keeps_memory(measurement.probes)
        self._rate_map = rate_map
        self._started = time.monotonic()
        self._reused_before = opened.runner.reused_seconds
        self._max_seconds = opened.case.lr_range.max_seconds
        self._steps = 0
        self.curves: list[LrCurve] = []
        """The curves of all trainings, in their order."""
        self.raised: str | None = None
        """What the last training raised that did not come to its end, and at which rate."""

    def announce(self, measurement: Measurement, limits: Limits) -> None:
        """Log the largest number of steps, and the first horizon where there are trials.

        From the speed of the search follows how long they may take.
        """
        case, most = self._opened.case, self._opened.case.lr_range.max_steps
        text = f"{case.id}: LR range test: at most {most} steps at batch {self._batch_size}"
        if case.lr_range.stages > 1:
            text += f", in trials of {limits.shortest}"
        level = logging.INFO
        if measurement.samples_per_second:
            samples = most * self._batch_size * case.accumulation(self._batch_size)
            seconds = samples / measurement.samples_per_second
            text += f", at most about {format_seconds(seconds)}"
            unbounded = self._max_seconds is None or self._max_seconds > _LONG_SECONDS
            if seconds > _LONG_SECONDS and unbounded and self._opened.locked is None:
                level = logging.WARNING
                text += f"; to make it shorter, {_CHEAPER}; lr_range.max_seconds bounds it"
        tell_phase(case.id, "LR range test")
        _log.log(level, text)

    def sweep(self, seed: int, learning_rates: Sequence[float]) -> Sequence[float]:
        """Sweep the learning rate with a fresh module; return the loss of each step.

        Raises NoLossesError.
        """
        losses = self._train(f"sweep with seed {seed}", seed, learning_rates)
        _log.info("%s: LR sweep with seed %d: %d steps", self._opened.case.id, seed, len(losses))
        return losses

    def whole_sweep(self, seed: int, learning_rates: Sequence[float]) -> Sequence[float]:
        """Sweep to the end, or to a loss that is not finite, as a strategy reads it.

        Raises NoLossesError.
        """
        losses = self._train(f"sweep with seed {seed}", seed, learning_rates, whole=True)
        _log.info("%s: LR sweep with seed %d: %d steps", self._opened.case.id, seed, len(losses))
        return losses

    def trial(
        self, seed: int, learning_rate: float, num_steps: int, ceiling: float | None
    ) -> Sequence[float]:
        """Train a fresh module at one learning rate; return the loss of each step.

        Raises NoLossesError.
        """
        what = f"trial of {learning_rate:.3g} with seed {seed}"
        losses = self._train(what, seed, (learning_rate,) * num_steps, trial=True, ceiling=ceiling)
        ended = (
            f"diverged after {len(losses)} steps"
            if len(losses) < num_steps or not math.isfinite(losses[-1])
            else f"loss {fmean(losses[num_steps // 2 :]):.4g} over {num_steps} steps"
        )
        _log.info("%s: LR %s: %s", self._opened.case.id, what, ended)
        return losses

    def _train(
        self,
        what: str,
        seed: int,
        learning_rates: Sequence[float],
        *,
        trial: bool = False,
        whole: bool = False,
        ceiling: float | None = None,
    ) -> Sequence[float]:
        progress = _Progress(f"{self._opened.case.id}: LR {what}", len(learning_rates))
        result = self._opened.runner.sweep(
            self._batch_size,
            learning_rates,
            seed,
            self._rate_map,
            trial=trial,
            whole=whole,
            ceiling=ceiling,
            whole_epochs=self._whole_epochs,
            seconds=self._seconds_left(),
            tell_steps=progress.tell,
        )
        if result.curve is not None:
            self.curves.append(result.curve)
            self._steps += len(result.curve.losses)
            if result.raised is not None:
                rate = learning_rates[min(len(result.curve.losses), len(learning_rates) - 1)]
                self.raised = f"at {rate:.3g} the training raised {result.raised}"
                _log.info("%s: LR %s: %s", self._opened.case.id, what, self.raised)
            return result.curve.losses
        if result.out_of_time:
            raise OutOfTimeError(self._out_of_time(self._steps + progress.steps))
        raise NoLossesError(result.refusal or _failure(result.failure, what))

    def _seconds_left(self) -> float | None:
        if self._max_seconds is None:
            return None
        # What an interrupted run has finished took its time, too.
        reused = self._opened.runner.reused_seconds - self._reused_before
        return max(0.0, self._max_seconds - reused - (time.monotonic() - self._started))

    def _out_of_time(self, steps: int) -> str:
        return (
            f"the range test has lr_range.max_seconds of {self._max_seconds:g} s, in which it took "
            f"{steps} steps, and knew the range of no seed: raise lr_range.max_seconds, or "
            f"{_CHEAPER}"
        )


class _Progress:
    """Logs how far a training is, and estimates the seconds that are left."""

    def __init__(self, what: str, num_steps: int) -> None:
        self.what = what
        self.num_steps = num_steps
        self.steps = 0
        self._started = self._recorded = time.monotonic()

    def tell(self, steps: int) -> None:
        """Take the number of steps that the training has done."""
        self.steps = steps
        now = time.monotonic()
        if steps and now - self._recorded >= _RECORD_SECONDS:
            self._recorded = now
            left = (self.num_steps - steps) * (now - self._started) / steps
            _log.info(
                "%s: step %d of %d, at most about %s left",
                self.what,
                steps,
                self.num_steps,
                format_seconds(left),
            )


def _failure(probe: Probe | None, what: str) -> str:
    assert probe is not None, "a training has a curve, a refusal or a failure"
    how = {"oom": "ran out of memory", "dataset": "found no full batch"}.get(
        probe.outcome, "failed"
    )
    # Some workloads raise an exception where others have a loss that is not finite.
    in_step = probe.outcome == "error" and probe.phase in ("forward", "backward", "optimizer")
    remedy = "; if only high rates fail, lower lr_range.lr_max" if in_step else ""
    return (
        f"the {what} {how} at batch {probe.batch_size} in {probe.phase}: "
        f"{probe.detail} (its output is in {probe.log}){remedy}"
    )
