"""Times batch sizes of a case, and tunes its batch by their speed where the matrix asks for it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search.training import allowed_sizes
from harness.bounds.throughput import compared_speed, throughput_suspect
from harness.devices.cpu import processor
from harness.identity.same_workload import same_workload
from harness.measure.so_far import TIMING, keep
from harness.probes.outcomes import describe_outcome
from harness.progress.events import tell_phase
from harness.throughput import (
    Rounds,
    candidates,
    choose,
    sizes_to_time,
    spaced,
    speed_of,
    without_hopeless,
)
from harness.throughput import plot as speed_plot
from harness.throughput.choice import LEAST_ROUNDS
from harness.units import format_speed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement
    from harness.probes.open_cases import OpenCase
    from harness.throughput import Choice

_log = logging.getLogger("harness")

# A probe times at least so many steps, for at least so long, after those that warm it up.
_STEPS, _SECONDS = 8, 0.5

# A choice that may be off by more, and speeds that vary by more, are told.
_UNCERTAIN, _LOUD = 0.1, 0.1

_SIMULATED = (
    "search.objective: throughput needs a measurement: a simulated GPU has no speed, so batch {} "
    "is the largest, and not the fastest"
)


def with_throughput(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add the speeds that objective and bounds ask for; the objective also tunes the batch."""
    case, locked = opened.case, opened.locked
    by_speed = case.search.objective == "throughput"
    if not by_speed and case.bounds.throughput.max_drop is None:
        return measurement
    if measurement.device.simulated:
        return (
            _warned(measurement, _SIMULATED.format(measurement.batch_size))
            if by_speed
            else (measurement)
        )
    keep(opened, measurement, TIMING)
    was = _usable(locked, measurement)
    if by_speed and case.preset == "quick" and was is not None and was.samples_per_second_spread:
        measurement = _tuned(opened, measurement, was.batch_size)
        if case.bounds.throughput.max_drop is None:
            return replace(
                measurement,
                samples_per_second=was.samples_per_second,
                samples_per_second_spread=was.samples_per_second_spread,
            )
        by_speed = False
    if by_speed:
        return _fastest(opened, measurement, was)
    sizes = {measurement.batch_size, measurement.batch_size if was is None else was.batch_size}
    measurement = _Timing(opened).of(measurement, sorted(sizes))
    return _with_speed(measurement, measurement.batch_size)


def with_speed_confirmed(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Time the locked batch once more, some time after the first, if its speed would fail."""
    locked, bounds = opened.locked, opened.case.bounds
    if locked is None or not throughput_suspect(measurement, locked, bounds):
        return measurement
    speed = compared_speed(measurement.speeds, locked, bounds)
    assert speed is not None, "a speed is suspect"
    _log.info(
        "%s: %s samples/s at batch %d, and %s are locked: measuring again before judging",
        opened.case.id,
        format_speed(speed.samples_per_second),
        speed.batch_size,
        format_speed(locked.samples_per_second or 0.0),
    )
    again = _Timing(opened).of(measurement, [speed.batch_size])
    return replace(measurement, speeds_again=again.speeds, warnings=again.warnings)


def _usable(locked: LockedProfile | None, measurement: Measurement) -> LockedProfile | None:
    """Return the lock if it is of the same training, and its batch fits."""
    if (
        locked is not None
        and locked.recipe == measurement.recipe
        and same_workload(locked, measurement)
        and locked.batch_size <= measurement.batch_size
    ):
        return locked
    return None


class _Timing:
    """Times batch sizes in rounds, each in a probe of its own."""

    def __init__(self, opened: OpenCase) -> None:
        self._opened = opened
        self.rounds = Rounds()
        self.failed: list[str] = []
        self._peaks: dict[int, int | None] = {}

    def of(self, measurement: Measurement, sizes: Sequence[int]) -> Measurement:
        """Return the measurement with the speeds of the sizes, each timed in the same rounds."""
        for _ in range(LEAST_ROUNDS):
            sizes = self.round(sizes)
        return self.told(measurement)

    def round(self, sizes: Sequence[int]) -> list[int]:
        """Time each size once; return those that trained.

        Each round begins with another size, so none always follows the same one.
        """
        number = len(self.rounds)
        tell_phase(self._opened.case.id, f"timing of batch sizes, round {number + 1}")
        shift = number % len(sizes) if sizes else 0
        speeds: dict[int, float] = {}
        for size in (*sizes[shift:], *sizes[:shift]):
            probe = self._opened.runner.train(
                size, steps=_STEPS, settle=False, timed_seconds=_SECONDS
            )
            name = self._opened.case.id
            if probe.outcome == "fits" and probe.samples_per_second:
                speeds[size] = probe.samples_per_second
                self._peaks[size] = probe.peak_memory_bytes
                shown = format_speed(speeds[size])
                _log.info("%s: batch %d: %s samples/s, round %d", name, size, shown, number + 1)
            else:
                self.failed.append(f"{describe_outcome(probe)} when it was timed")
                _log.info("%s: %s", name, self.failed[-1])
        self.rounds.add(speeds)
        return [size for size in sizes if size in speeds]

    def told(self, measurement: Measurement) -> Measurement:
        """Return the measurement with all speeds, and a warning for each size that failed."""
        speeds = tuple(
            speed_of(size, self.rounds, self._peaks[size]) for size in sorted(self._peaks)
        )
        made_with = measurement.made_with
        if speeds and measurement.device.name == "cpu":
            made_with = made_with | {"processor": processor()}
        told = replace(measurement, speeds=speeds, made_with=made_with)
        return _warned(told, *self.failed)


def _fastest(opened: OpenCase, measurement: Measurement, was: LockedProfile | None) -> Measurement:
    """Tune the batch: the smallest size whose samples/s cannot be told from the best.

    Under the preset `thorough` the locked size has no advantage: it is only timed as well.
    """
    largest, timing = measurement.batch_size, _Timing(opened)
    locked = None if was is None else was.batch_size
    stays = None if opened.case.preset == "thorough" else locked
    sizes = _sizes(opened, measurement, locked)
    _log.info("%s: timing batches %s", opened.case.id, ", ".join(map(str, sizes)))
    if len(sizes) == 1:
        return _with_speed(timing.of(measurement, sizes), largest)
    while wanted := sizes_to_time(sizes, timing.rounds, stays):
        trained = timing.round(wanted)
        # A size that once fails is no candidate any more.
        sizes = tuple(size for size in sizes if size not in wanted or size in trained)
    measurement = timing.told(measurement)
    if not sizes:
        return _warned(measurement, f"no batch size could be timed: batch {largest} is the largest")
    choice = choose(sizes, timing.rounds, stays)
    measurement = _tuned(opened, measurement, choice.batch_size)
    measurement = _with_speed(measurement, choice.batch_size)
    measurement = _warned(measurement, *_remarks(choice, locked))
    path = opened.surroundings.directory / opened.case.id / "throughput.png"
    speed_plot.plot(path, title=opened.case.id, measurement=measurement, best=choice.best)
    return replace(measurement, artifacts=(*measurement.artifacts, str(path)))


def _sizes(opened: OpenCase, measurement: Measurement, locked: int | None) -> tuple[int, ...]:
    """Return the sizes to compare, without those that the search saw to be far too slow."""
    settings, largest = opened.case.search, measurement.batch_size
    minimum = min(allowed_sizes(opened)[0], largest)
    if settings.global_batch_size is None:
        sizes = candidates(minimum, largest, settings.round_to, locked)
    else:
        sizes = spaced(settings.micro_batches(minimum, largest), locked)
    known = {
        probe.batch_size: probe.samples_per_second
        for probe in measurement.probes
        if probe.kind == "train" and probe.outcome == "fits" and probe.samples_per_second
    }
    return without_hopeless(sizes, known)


def _tuned(opened: OpenCase, measurement: Measurement, batch_size: int) -> Measurement:
    """Return the measurement with another tuned batch."""
    return replace(
        measurement,
        batch_size=batch_size,
        accumulate_grad_batches=opened.case.search.accumulation(batch_size),
    )


def _remarks(choice: Choice, locked: int | None) -> list[str]:
    remarks = []
    if choice.uncertainty > _UNCERTAIN:
        remarks.append(
            f"batch {choice.batch_size} may be slower than batch {choice.best} by "
            f"{choice.slower + choice.uncertainty:.0%}: the speeds vary so much from probe to probe"
        )
    if locked is not None and locked != choice.batch_size:
        remarks.append(
            f"batch {locked} is locked, and is no longer the smallest that is as fast as any: "
            f"batch {choice.batch_size} is"
        )
    return remarks


def _with_speed(measurement: Measurement, batch_size: int) -> Measurement:
    """Return the measurement with the speed of the tuned batch, if it was timed."""
    speed = next((one for one in measurement.speeds if one.batch_size == batch_size), None)
    if speed is None:
        return measurement
    spread = speed.samples_per_second_spread
    if spread is not None and spread > _LOUD * speed.samples_per_second:
        noise = spread / speed.samples_per_second
        measurement = _warned(
            measurement,
            f"samples/s at batch {batch_size} vary by {noise:.0%} from round to round: other work "
            "runs on this machine, or its clock changes; speeds are only as certain as that",
        )
    return replace(
        measurement, samples_per_second=speed.samples_per_second, samples_per_second_spread=spread
    )


def _warned(measurement: Measurement, *warnings: str) -> Measurement:
    return replace(measurement, warnings=(*measurement.warnings, *warnings))
