"""Runs the sweeps of an LR range test, one per seed, and tells how far they are."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.batch_search.training import keeps_memory
from harness.lr_range.suggestion import Suggestion, geometric_sweep, suggest
from harness.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lr_range.rate_map import RateMap
    from harness.measurement import LrCurve, Measurement, Probe
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")

# With more seconds between two records of a sweep a reader would think that it hangs.
_RECORD_SECONDS = 10.0
# A first range test that takes longer is announced with what makes it shorter, in a CI log too.
_LONG_SECONDS = 300.0
_CHEAPER = (
    "lower lr_range.num_training or the number of lr_range.seeds, or set lr_range.when to changed "
    "(only after a change) or never"
)


@dataclass(frozen=True)
class Sweeps:
    """The curves of some seeds, and the learning rate that they suggest."""

    learning_rates: tuple[float, ...]
    """The swept rates of the optimizer."""
    curves: tuple[LrCurve, ...]
    suggestion: Suggestion | None
    refusal: str | None
    rate_map: RateMap | None
    """How the optimizer's rates depend on the attribute; None where no attribute holds them."""

    @property
    def learning_rate(self) -> float | None:
        """The value of the attribute that makes the suggested rate."""
        rate = self.suggestion.learning_rate if self.suggestion else None
        return None if rate is None else self._value_for(rate)

    @property
    def per_seed(self) -> tuple[float, ...]:
        """The value for each seed's suggestion."""
        rates = self.suggestion.per_seed if self.suggestion else ()
        return tuple(self._value_for(rate) for rate in rates if rate is not None)

    def _value_for(self, rate: float) -> float:
        return rate if self.rate_map is None else self.rate_map.value_for(rate)


class RangeTest:
    """The LR range test of a case at one batch size, within `lr_range.max_seconds`."""

    def __init__(
        self, opened: OpenCase, measurement: Measurement, rate_map: RateMap | None
    ) -> None:
        self.opened = opened
        self.batch_size = measurement.batch_size
        self._whole_epochs = keeps_memory(measurement.probes)
        self.rate_map = rate_map
        self._started = time.monotonic()
        self._max_seconds = opened.case.lr_range.max_seconds

    def announce(self, measurement: Measurement) -> None:
        """Log the number of steps, and from the speed of the search how long they may take."""
        case, settings = self.opened.case, self.opened.case.lr_range
        steps = len(settings.seeds) * settings.num_training
        text = f"{case.id}: LR range test: {steps} steps at batch {self.batch_size}"
        level = logging.INFO
        if measurement.samples_per_second:
            accumulate = int(case.trainer.get("accumulate_grad_batches", 1))
            samples = steps * self.batch_size * accumulate
            seconds = samples / measurement.samples_per_second
            text += f", at most about {format_seconds(seconds)}"
            unbounded = self._max_seconds is None or self._max_seconds > _LONG_SECONDS
            if seconds > _LONG_SECONDS and unbounded and self.opened.locked is None:
                level = logging.WARNING
                text += f"; to make it shorter, {_CHEAPER}; lr_range.max_seconds bounds it"
        _log.log(level, text)

    def sweep(self, num_training: int, seeds: Sequence[int]) -> Sweeps:
        """Sweep each seed; the first refusal or failure ends the test."""
        case, settings = self.opened.case, self.opened.case.lr_range
        rates = geometric_sweep(settings.lr_min, settings.lr_max, num_training)
        curves: list[LrCurve] = []
        for number, seed in enumerate(seeds):
            progress = _Progress(
                f"{case.id}: LR sweep with seed {seed} ({number + 1} of {len(seeds)})",
                num_training,
                (len(seeds) - number - 1) * num_training,
            )
            seconds = self._seconds_left()
            sweep = self.opened.runner.sweep(
                self.batch_size,
                rates,
                seed,
                self.rate_map,
                whole_epochs=self._whole_epochs,
                seconds=seconds,
                tell_steps=progress.tell,
            )
            if sweep.curve is None:
                refusal = sweep.refusal or (
                    self._out_of_time(progress, number, len(seeds))
                    if sweep.out_of_time
                    else _failure(sweep.failure, seed)
                )
                _log.info("%s: LR range test refused: %s", case.id, refusal)
                return Sweeps(rates, tuple(curves), None, refusal, self.rate_map)
            curves.append(sweep.curve)
            _log.info("%s: LR sweep with seed %d: %d steps", case.id, seed, len(sweep.curve.losses))
        suggestion = suggest(rates, [curve.losses for curve in curves])
        return Sweeps(rates, tuple(curves), suggestion, suggestion.refusal, self.rate_map)

    def _seconds_left(self) -> float | None:
        if self._max_seconds is None:
            return None
        return max(0.0, self._max_seconds - (time.monotonic() - self._started))

    def _out_of_time(self, progress: _Progress, number: int, num_seeds: int) -> str:
        left = progress.seconds_left()
        more = "" if left is None else f", and all would take about {format_seconds(left)} more"
        return (
            f"the range test has lr_range.max_seconds of {self._max_seconds:g} s, in which it came "
            f"to step {progress.steps} of {progress.num_steps} of sweep {number + 1} of "
            f"{num_seeds}{more}: raise lr_range.max_seconds, or {_CHEAPER}"
        )


class _Progress:
    """Logs how far a sweep is, and estimates the seconds that are left."""

    def __init__(self, what: str, num_steps: int, steps_afterwards: int) -> None:
        self.what = what
        self.num_steps = num_steps
        self.steps_afterwards = steps_afterwards
        self.steps = 0
        self._started = self._recorded = time.monotonic()

    def tell(self, steps: int) -> None:
        """Take the number of steps that the sweep has done."""
        self.steps = steps
        now = time.monotonic()
        if now - self._recorded >= _RECORD_SECONDS:
            self._recorded = now
            left = self.seconds_left()
            _log.info(
                "%s: step %d of %d%s",
                self.what,
                steps,
                self.num_steps,
                "" if left is None else f", at most about {format_seconds(left)} left",
            )

    def seconds_left(self) -> float | None:
        """Return the seconds for the steps that are left, those of the seeds to come included."""
        if not self.steps:
            return None
        left = self.num_steps - self.steps + self.steps_afterwards
        return left * (time.monotonic() - self._started) / self.steps


def _failure(probe: Probe | None, seed: int) -> str:
    assert probe is not None, "a sweep has a curve, a refusal or a failure"
    what = {"oom": "ran out of memory", "dataset": "found no full batch"}.get(
        probe.outcome, "failed"
    )
    return (
        f"the sweep with seed {seed} {what} at batch {probe.batch_size} in {probe.phase}: "
        f"{probe.detail} (its output is in {probe.log})"
    )
