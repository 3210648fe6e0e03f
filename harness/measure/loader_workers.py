"""Finds the smallest number of workers with which the training loader keeps up with the step.

The rule: step and loader are timed by turns, each three times. The loader keeps up if its median
rate is not below the step's by more than the dispersion, the larger of the two relative half-widths
of the three, which counts up to 10%. The numbers are 0, 1, 2, 4 and so on; the first that keeps up
is the answer. Where none does, it is the smallest that is as fast as the fastest, within the
dispersion, and a warning says by what factor the loader is too slow.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from harness.measure.so_far import keep
from harness.probes.loader_probe import measure_loading
from harness.progress.events import tell_phase
from harness.wording import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measurement import Measurement
    from harness.probes.loader_probe import Loading
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")

# With more noise than this nothing is told apart, and a loader must not pass by it.
_MOST_NOISE = 0.1
_SIMULATED = "workers: not measured, because the steps of a simulated GPU take no time"


def with_workers(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add the number of workers at the tuned batch, with the rates of loader and step.

    Raises MachineError when the machine is at fault.
    """
    most = opened.case.workers.max
    if most is None:
        return measurement
    if measurement.device.simulated:
        return _warned(measurement, _SIMULATED)
    if opened.case.preset == "quick" and opened.locked and opened.locked.num_workers is not None:
        return replace(measurement, num_workers=opened.locked.num_workers)
    tell_phase(opened.case.id, "loader workers")
    keep(opened, measurement, "the timing of the loader")
    num_cpus = len(os.sched_getaffinity(0))
    found: dict[int, Loading] = {}
    for number in numbers_to_try(min(most, num_cpus)):
        loading = measure_loading(opened.runner.ask, measurement.batch_size, number)
        if loading.refusal is not None:
            return _warned(measurement, f"workers: not measured: {loading.refusal}")
        if loading.failure is not None:
            measurement = _warned(
                measurement, f"workers: the loader failed with {number}: {loading.failure}"
            )
            break
        found[number] = loading
        _log.info("%s: %s", opened.case.id, _described(measurement.batch_size, number, loading))
        if keeps_up(loading):
            break
    if not found:
        return measurement
    number = max(found) if keeps_up(found[max(found)]) else fastest(found)
    size, chosen = measurement.batch_size, found[number]
    if not keeps_up(chosen):
        measurement = _warned(measurement, _too_slow(number, found, most, num_cpus))
    return replace(
        measurement,
        num_workers=number,
        loader_samples_per_second={
            str(one): size / median(loading.load_seconds) for one, loading in found.items()
        },
        step_samples_per_second=size / median(chosen.step_seconds),
    )


def numbers_to_try(most: int) -> list[int]:
    """Return 0 and the powers of two below a number, and that number."""
    return [0, *(1 << power for power in range(most.bit_length()) if 1 << power < most), most]


def keeps_up(loading: Loading) -> bool:
    """Return whether the loader is not slower than the step, as far as they can be told apart."""
    allowed = 1 - min(_dispersion(loading), _MOST_NOISE)
    return median(loading.load_seconds) * allowed <= median(loading.step_seconds)


def fastest(found: dict[int, Loading]) -> int:
    """Return the smallest number of workers that is as fast as the fastest, but for noise."""
    best = min(found.values(), key=lambda one: median(one.load_seconds))
    allowed = median(best.load_seconds) * (1 + min(_dispersion(best), _MOST_NOISE))
    return min(number for number, one in found.items() if median(one.load_seconds) <= allowed)


def _dispersion(loading: Loading) -> float:
    return max(map(_half_width, (loading.load_seconds, loading.step_seconds)))


def _half_width(seconds: Sequence[float]) -> float:
    return (max(seconds) - min(seconds)) / (2 * median(seconds))


def _described(size: int, number: int, loading: Loading) -> str:
    return (
        f"the loader with {number} worker{'s' * (number != 1)} loads "
        f"{size / median(loading.load_seconds):.0f} samples/s, and the step alone takes "
        f"{size / median(loading.step_seconds):.0f}, ±{100 * _dispersion(loading):.0f}%"
    )


def _too_slow(number: int, found: dict[int, Loading], most: int, num_cpus: int) -> str:
    factor = median(found[number].load_seconds) / median(found[number].step_seconds)
    more = f"; this machine has {num_cpus} CPUs" if num_cpus < most else ", or raise workers.max"
    return (
        f"workers: the loader is the bottleneck, x{factor:.1f} slower than the step with {number}, "
        f"the fastest of {listed(map(str, found))}: make a sample cheaper to load{more}"
    )


def _warned(measurement: Measurement, warning: str) -> Measurement:
    return replace(measurement, warnings=(*measurement.warnings, warning))
