"""Whether a measurement is within the bounds of its locked profile, and what likely moved it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from harness.fingerprint import workload_changes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from harness.lockfile import LockedProfile
    from harness.measurement import Measurement, Scalar

WARN_FACTOR = 1.5
"""A learning rate that moved by more than this, but within its bound, is worth a warning."""

# Products of decimals miss whole numbers by some 1e-16 of their size; a bound's boundary must not.
_TOLERANCE = 1e-9
_CPU_NOISE = 0.005


class BatchSizeBound(Protocol):
    """The bound on `max_batch_size`."""

    @property
    def max_drop(self) -> float:
        """The share of the locked value that it may fall by."""


class LearningRateBound(Protocol):
    """The bound on the learning rate."""

    @property
    def max_factor(self) -> float:
        """How many times larger or smaller than the locked value it may be."""


class Bounds(Protocol):
    """The bounds of a case."""

    @property
    def batch_size(self) -> BatchSizeBound:
        """The bound on `max_batch_size`."""

    @property
    def learning_rate(self) -> LearningRateBound:
        """The bound on the learning rate."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One bound that a measurement breaks."""

    bound: str
    """`missing`, `batch_size`, `predicted_batch_size`, `learning_rate`, `fingerprint` or `recipe`."""
    locked: Scalar | None
    measured: Scalar | None
    allowed: Scalar | None
    message: str
    """One line: the values, what was allowed, the likely cause."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison of a measurement with its locked profile comes to."""

    violations: tuple[Violation, ...] = ()
    improvements: tuple[str, ...] = ()
    """Gains beyond the bounds: the lock could hold more."""
    warnings: tuple[str, ...] = ()


def judge(measurement: Measurement, locked: LockedProfile | None, bounds: Bounds) -> Verdict:
    """Compare a measurement with its locked profile."""
    if measurement.max_batch_size == 0:
        return Verdict((_nothing_fits(measurement, locked, bounds),))
    if locked is None or locked.source == "predicted":
        message = (
            "the case was never locked" if locked is None else "the case was predicted, but never measured"
        )
        return Verdict((Violation("missing", None, measurement.max_batch_size, None, message),))
    parts = (
        judge_workload(measurement, locked),
        judge_recipe(measurement, locked),
        _judge_batch_size(measurement, locked, bounds.batch_size.max_drop),
        _judge_learning_rate(measurement, locked, bounds),
    )
    return combine(parts)


def combine(parts: Collection[Verdict]) -> Verdict:
    """Put the verdicts on single values into one."""
    return Verdict(
        tuple(violation for part in parts for violation in part.violations),
        tuple(improvement for part in parts for improvement in part.improvements),
        tuple(warning for part in parts for warning in part.warnings),
    )


def learning_rate_suspect(measurement: Measurement, locked: LockedProfile, bounds: Bounds) -> bool:
    """Say whether the learning rate would fail, so that new seeds must confirm it first.

    Only of two numbers that may be compared: a refusal has no number that more seeds could move.
    """
    if measurement.learning_rate is None or locked.learning_rate is None or measurement.lr_kept:
        return False
    if _why_not_comparable(measurement, locked, bounds):
        return False
    factor = _factor(measurement.learning_rate, locked.learning_rate)
    return not _within_factor(factor, bounds.learning_rate.max_factor)


def likely_causes(measurement: Measurement, locked: LockedProfile) -> tuple[str, ...]:
    """List what is known to differ from when the profile was locked, the most telling first."""
    causes = []
    if measurement.fingerprint != locked.fingerprint:
        causes.append(f"the workload changed: {_workload_changes(measurement, locked)}")
    if measurement.recipe != locked.recipe:
        causes.append(f"the recipe changed: {_recipe_changes(measurement, locked)}")
    if measurement.bounded_by != locked.bounded_by:
        causes.append(
            f"bounded by {measurement.bounded_by}, no longer by {locked.bounded_by}{_detail(measurement)}"
        )
    then, now = locked.made_with, measurement.made_with
    if measurement.source == "predicted":
        then, now = locked.predicted_with, measurement.predicted_with
    if versions := list(_changes(then, now)):
        causes.append(f"made with other versions: {', '.join(versions)}")
    return tuple(causes)


def smallest_allowed(locked_batch_size: int, max_drop: float, noise: int = 0) -> int:
    """Return the smallest batch size within the bound: locked x (1 - max_drop), rounded up.

    98 of 100 is within 2%, 97 is not; of 10 no whole batch less is within 2%. A drop by `noise` samples or
    fewer is always allowed.
    """
    exact = math.ceil(locked_batch_size * (1 - _decimal(max_drop)))
    return max(1, min(exact, locked_batch_size - noise))


def measured_noise(locked: LockedProfile) -> int:
    """Return by how many samples the largest batch differs between runs of an unchanged case.

    On the CPU's bounded budget by 0.5%, or one sample (`benchmarks/exactness.py`); a GPU's allocator repeats.
    """
    if locked.device.name != "cpu":
        return 0
    return max(1, math.floor(locked.max_batch_size * _CPU_NOISE))


def largest_expected(locked_batch_size: int, max_drop: float) -> int:
    """Return the largest batch size that is no improvement: locked x (1 + max_drop), rounded down."""
    return math.floor(locked_batch_size * (1 + _decimal(max_drop)))


def _decimal(share: float) -> Fraction:
    """Return a share as it was written: 0.02 is two hundredths, not the nearest binary fraction."""
    return Fraction(repr(float(share)))


def _nothing_fits(measurement: Measurement, locked: LockedProfile | None, bounds: Bounds) -> Violation:
    size = locked.max_batch_size if locked else None
    allowed = 1
    if locked is not None and size:
        allowed = smallest_allowed(size, bounds.batch_size.max_drop, measured_noise(locked))
    message = f"no batch size trains{_detail(measurement)}"
    if locked:
        message += f"; {size} is locked and at least {allowed} is allowed{because(measurement, locked)}"
    return Violation("batch_size", size, 0, allowed, message)


def judge_workload(measurement: Measurement, locked: LockedProfile) -> Verdict:
    """Refuse a profile of another workload."""
    if measurement.fingerprint == locked.fingerprint:
        return Verdict()
    changes = _workload_changes(measurement, locked)
    message = f"the lock is stale, it describes another workload: {changes}"
    return Verdict(
        (Violation("fingerprint", locked.fingerprint, measurement.fingerprint, locked.fingerprint, message),)
    )


def judge_recipe(measurement: Measurement, locked: LockedProfile) -> Verdict:
    """Refuse a profile that was made with other settings."""
    if measurement.recipe == locked.recipe:
        return Verdict()
    message = f"the lock is stale, it was made with another recipe: {_recipe_changes(measurement, locked)}"
    return Verdict((Violation("recipe", locked.recipe, measurement.recipe, locked.recipe, message),))


def _judge_batch_size(measurement: Measurement, locked: LockedProfile, max_drop: float) -> Verdict:
    measured, size = measurement.max_batch_size, locked.max_batch_size
    allowed = smallest_allowed(size, max_drop, measured_noise(locked))
    change = f"max_batch_size {measured} is {abs(measured / size - 1):.1%}"
    if measured < allowed:
        message = (
            f"{change} below the locked {size}; at least {allowed} is allowed (max_drop {100 * max_drop:g}%)"
            f"{because(measurement, locked)}"
        )
        return Verdict((Violation("batch_size", size, measured, allowed, message),))
    if measured > max(largest_expected(size, max_drop), size + measured_noise(locked)):
        return Verdict(improvements=(f"{change} above the locked {size}",))
    if measurement.bounded_by == "error" and locked.bounded_by != "error":
        warning = f"the search was ended by an error, not by {locked.bounded_by} as when it was locked"
        return Verdict(warnings=(warning + _detail(measurement),))
    return Verdict()


def _judge_learning_rate(measurement: Measurement, locked: LockedProfile, bounds: Bounds) -> Verdict:
    """Compare learning rates. That one was found or lost is judged at any batch size and recipe."""
    measured, rate = measurement.learning_rate, locked.learning_rate
    if measurement.lr_kept or (measured is None and rate is None):
        return Verdict()
    if rate is None:
        was = f"the lock holds a refusal: {locked.lr_refusal}" if locked.lr_refusal else "the lock holds none"
        return Verdict(improvements=(f"learning_rate {measured:.3g}, where {was}",))
    max_factor = bounds.learning_rate.max_factor
    allowed = f"{rate / max_factor:.3g} to {rate * max_factor:.3g}"
    if measured is None:
        refusal = measurement.lr_refusal or "the LR range test was not run"
        message = f"no learning rate, where {rate:.3g} is locked: {refusal}{because(measurement, locked)}"
        return Verdict((Violation("learning_rate", rate, None, allowed, message),))
    if reason := _why_not_comparable(measurement, locked, bounds):
        return Verdict(warnings=(f"learning_rate {measured:.3g} is not judged against {rate:.3g}: {reason}",))
    factor = _factor(measured, rate)
    direction = "above" if measured > rate else "below"
    message = f"learning_rate {measured:.3g} is x{factor:.2f} {direction} the locked {rate:.3g}; {allowed} is allowed"
    if not _within_factor(factor, max_factor):
        message += f" (max_factor {max_factor:g}){because(measurement, locked)}"
        return Verdict((Violation("learning_rate", rate, measured, allowed, message),))
    return Verdict(warnings=() if _within_factor(factor, WARN_FACTOR) else (message,))


def _why_not_comparable(measurement: Measurement, locked: LockedProfile, bounds: Bounds) -> str | None:
    """Learning rates compare at one recipe and, within the bound of the batch size, one batch only."""
    if measurement.recipe != locked.recipe:
        return "it was locked with another recipe"
    max_drop = bounds.batch_size.max_drop
    noise = measured_noise(locked)
    least = smallest_allowed(locked.batch_size, max_drop, noise)
    most = max(largest_expected(locked.batch_size, max_drop), locked.batch_size + noise)
    if not least <= measurement.batch_size <= most:
        return f"it was locked at batch {locked.batch_size}, this is batch {measurement.batch_size}"
    return None


def _factor(measured: float, locked: float) -> float:
    return max(measured / locked, locked / measured)


def _within_factor(factor: float, limit: float) -> bool:
    return factor <= limit * (1 + _TOLERANCE)


def because(measurement: Measurement, locked: LockedProfile) -> str:
    """Return the likely causes as the end of a message, empty where nothing is known to differ."""
    causes = likely_causes(measurement, locked)
    return f"; likely cause: {'; '.join(causes)}" if causes else ""


def _detail(measurement: Measurement) -> str:
    """Return why the smallest batch that did not fit failed, where that was not for want of memory."""
    errors = [probe for probe in measurement.probes if probe.outcome == "error" and probe.kind == "train"]
    if not errors:
        return ""
    first = min(errors, key=lambda probe: probe.batch_size)
    where = f" in {first.phase}" if first.phase else ""
    return f" (batch {first.batch_size} failed{where}: {first.detail or 'no detail'})"


def _workload_changes(measurement: Measurement, locked: LockedProfile) -> str:
    changes = workload_changes(locked.workload, measurement.workload)
    return ", ".join(changes) or "what it is made of was not recorded"


def _recipe_changes(measurement: Measurement, locked: LockedProfile) -> str:
    changes = list(_changes(locked.settings, measurement.settings, absent="the default"))
    return ", ".join(changes) or "its settings read the same, so that a default or the environment changed"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], absent: str = "none") -> Iterator[str]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield f"{key} {old.get(key, absent)} -> {new.get(key, absent)}"
