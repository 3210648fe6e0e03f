"""Judges a measurement by the bounds of its locked profile. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.bounds.buckets import judge_buckets
from harness.bounds.causes import because, failure_detail, judge_recipe, judge_workload
from harness.bounds.inference import judge_inference
from harness.bounds.sizes import largest_expected, measured_noise, same_batch, smallest_allowed
from harness.bounds.throughput import judge_throughput
from harness.bounds.verdict import Verdict, Violation
from harness.lr_range.ratio import outside, ratio
from harness.wording import RELOCK

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.settings import BoundsSettings
    from harness.measurement import Measurement

WARN_FACTOR = 1.5
"""A learning rate that moved by more than this factor, but within `max_factor`, is a warning.

Within a locked range there is none: training is as good everywhere in it.
"""


def judge(
    measurement: Measurement, locked: LockedProfile | None, bounds: BoundsSettings
) -> Verdict:
    """Judge a measurement by its locked profile, which is None if the case was never locked."""
    if measurement.max_batch_size == 0:
        return Verdict((_nothing_fits(measurement, locked, bounds),))
    if locked is None or locked.source == "predicted":
        message = (
            "the case was never locked"
            if locked is None
            else "the case was predicted, but never measured"
        )
        return Verdict((Violation("missing", None, measurement.max_batch_size, None, message),))
    parts = (
        judge_workload(measurement, locked),
        judge_recipe(measurement, locked),
        _judge_batch_size(measurement, locked, bounds.batch_size.max_drop),
        _judge_learning_rate(measurement, locked, bounds),
        judge_throughput(measurement, locked, bounds),
        judge_inference(measurement, locked, bounds.batch_size.max_drop),
        judge_buckets(measurement, locked, bounds.batch_size.max_drop),
    )
    return Verdict.combined(parts)


def learning_rate_suspect(
    measurement: Measurement, locked: LockedProfile, bounds: BoundsSettings
) -> bool:
    """Return whether the learning rate would fail, so that new seeds must confirm it first.

    False unless both rates are numbers that may be compared: more seeds cannot move a refusal.
    """
    if measurement.learning_rate is None or locked.learning_rate is None or measurement.lr_kept:
        return False
    if _why_not_judged(measurement, locked, bounds):
        return False
    max_factor = bounds.learning_rate.max_factor
    if max_factor is not None:
        return outside(measurement.learning_rate, locked.learning_rate, max_factor)
    # Both ranges are measured, each with noise of its own: either may hold the other's rate.
    return _outside_range(measurement.learning_rate, locked.learning_rate_range) and (
        not measurement.learning_rate_range
        or _outside_range(locked.learning_rate, measurement.learning_rate_range)
    )


def learning_rate_confirmed(
    measurement: Measurement, locked: LockedProfile, bounds: BoundsSettings
) -> bool:
    """Return whether the locked learning rate was judged and holds: an update then keeps it."""
    return (
        measurement.learning_rate is not None
        and locked.learning_rate is not None
        and not measurement.lr_kept
        and _why_not_judged(measurement, locked, bounds) is None
        and not learning_rate_suspect(measurement, locked, bounds)
    )


def _nothing_fits(
    measurement: Measurement, locked: LockedProfile | None, bounds: BoundsSettings
) -> Violation:
    size = locked.max_batch_size if locked else None
    allowed = 1
    if locked is not None and size:
        allowed = smallest_allowed(size, bounds.batch_size.max_drop, measured_noise(locked))
    message = f"no batch size trains{_tried(measurement)}{failure_detail(measurement)}"
    if locked:
        message += (
            f"; {size} is locked and at least {allowed} is allowed{because(measurement, locked)}"
        )
    return Violation("batch_size", size, 0, allowed, message)


def _tried(measurement: Measurement) -> str:
    """Return the divisors of the global batch that were tried, as a part of a message."""
    total = measurement.global_batch_size
    if total is None:
        return ""
    sizes = sorted({probe.batch_size for probe in measurement.probes if probe.kind == "train"})
    return f" of those that divide global_batch_size {total}: tried {', '.join(map(str, sizes))}"


def _of_step(measurement: Measurement, locked: LockedProfile) -> str:
    """Return how the accumulation has changed, as a part of a message.

    The next divisor may be far below the last one.
    """
    total, now = measurement.global_batch_size, measurement.accumulate_grad_batches
    if total is None or total != locked.global_batch_size:
        return ""
    then = locked.accumulate_grad_batches
    return f"; a step of {total} samples takes {now} micro-batches, where {then} are locked"


def _judge_batch_size(measurement: Measurement, locked: LockedProfile, max_drop: float) -> Verdict:
    measured, size = measurement.max_batch_size, locked.max_batch_size
    allowed = smallest_allowed(size, max_drop, measured_noise(locked))
    change = f"max_batch_size {measured} is {abs(measured / size - 1):.1%}"
    if measured < allowed:
        message = (
            f"{change} below the locked {size}; at least {allowed} is allowed "
            f"(max_drop {100 * max_drop:g}%){_of_step(measurement, locked)}"
            f"{because(measurement, locked)}"
        )
        return Verdict((Violation("batch_size", size, measured, allowed, message),))
    if measured > max(largest_expected(size, max_drop), size + measured_noise(locked)):
        return Verdict(improvements=(f"{change} above the locked {size}",))
    if measurement.bounded_by == "error" and locked.bounded_by != "error":
        warning = (
            f"an error ended the search{failure_detail(measurement)}; when the case was locked, it "
            f"was bounded by {locked.bounded_by}"
        )
        return Verdict(warnings=(warning,))
    return Verdict()


def _judge_learning_rate(
    measurement: Measurement, locked: LockedProfile, bounds: BoundsSettings
) -> Verdict:
    """Judge the learning rate. A found or lost one counts at any batch size and any recipe."""
    measured, rate = measurement.learning_rate, locked.learning_rate
    if measurement.lr_kept or (measured is None and rate is None):
        return Verdict()
    if rate is None:
        was = (
            f"the lock holds a refusal: {locked.lr_refusal}"
            if locked.lr_refusal
            else "the lock holds none"
        )
        return Verdict(improvements=(f"learning_rate {measured:.3g}, where {was}",))
    allowed = _allowed_rates(rate, locked, bounds)
    if measured is None:
        refusal = measurement.lr_refusal or "the LR range test was not run"
        message = (
            f"no learning rate, where {rate:.3g} is locked: {refusal}{because(measurement, locked)}"
        )
        return Verdict((Violation("learning_rate", rate, None, allowed, message),))
    if reason := _why_not_judged(measurement, locked, bounds):
        return Verdict(
            warnings=(f"learning_rate {measured:.3g} is not judged against {rate:.3g}: {reason}",)
        )
    max_factor = bounds.learning_rate.max_factor
    factor = ratio(measured, rate)
    direction = "above" if measured > rate else "below"
    message = (
        f"learning_rate {measured:.3g} is x{factor:.2f} {direction} the locked {rate:.3g}; "
        f"{allowed} is allowed"
    )
    if learning_rate_suspect(measurement, locked, bounds):
        message += _why_allowed(measurement, locked, max_factor) + because(measurement, locked)
        if max_factor is None:
            message += f"; find what changed the training, or lock the new rate with `{RELOCK}`"
        return Verdict((Violation("learning_rate", rate, measured, allowed, message),))
    warned = max_factor is not None and outside(measured, rate, WARN_FACTOR)
    warnings: tuple[str, ...] = (message,) if warned else ()
    now, then = measurement.lr_horizon, locked.lr_horizon
    if now is not None and then is not None and now > then:
        slower = (
            f"the loss clearly falls only in trials of {now} steps, where {then} were enough when "
            "the learning rate was locked: the training has become slower"
        )
        warnings = (*warnings, slower)
    return Verdict(warnings=warnings)


def _outside_range(rate: float, ends: tuple[float, ...]) -> bool:
    """Return whether a learning rate is outside of a range; its ends are inside."""
    lowest, highest = ends
    return outside(rate, min(max(rate, lowest), highest), 1)


def _allowed_rates(rate: float, locked: LockedProfile, bounds: BoundsSettings) -> str:
    """Return the learning rates within the bound: `0.0021 to 0.0048`."""
    max_factor = bounds.learning_rate.max_factor
    if max_factor is not None:
        return f"{rate / max_factor:.3g} to {rate * max_factor:.3g}"
    if not locked.learning_rate_range:
        return f"{rate:.3g}"
    lowest, highest = locked.learning_rate_range
    return f"{lowest:.3g} to {highest:.3g}"


def _why_allowed(measurement: Measurement, locked: LockedProfile, max_factor: float | None) -> str:
    if max_factor is not None:
        return f" (max_factor {max_factor:g})"
    over = "" if locked.lr_horizon is None else f" over {locked.lr_horizon} steps"
    text = f", the range in which training{over} was as good"
    if not measurement.learning_rate_range:
        return text
    lowest, highest = measurement.learning_rate_range
    return f"{text}; now it is as good from {lowest:.3g} to {highest:.3g}"


def _why_not_judged(
    measurement: Measurement, locked: LockedProfile, bounds: BoundsSettings
) -> str | None:
    """Return the reason why a learning rate cannot be judged by the locked one, or None.

    They can be compared only at the same recipe and, within the bound of the batch size, the same
    batch. A shorter horizon is another question. A longer one is an answer: the training was too
    slow for the locked one.
    """
    if measurement.recipe != locked.recipe:
        return "it was locked with another recipe"
    if not locked.learning_rate_range and (reason := _why_no_range(locked, bounds)):
        return reason
    now, then = measurement.lr_horizon, locked.lr_horizon
    if now is not None and then is not None and now < then:
        return f"it was locked over {then} steps, and lr_range.num_training leaves only {now}"
    if locked.global_batch_size is not None:
        return None  # the recipe has it, too: both are rates of steps of as many samples
    if not same_batch(measurement.batch_size, locked, bounds.batch_size.max_drop):
        return f"it was locked at batch {locked.batch_size}, this is batch {measurement.batch_size}"
    return None


def _why_no_range(locked: LockedProfile, bounds: BoundsSettings) -> str | None:
    """Return the reason why a rate cannot be judged without a range; None where a factor does."""
    if not locked.lr_without_range:
        return f"the lock holds no range for it, and `{RELOCK}` locks one"
    if bounds.learning_rate.max_factor is not None:
        return None
    return (
        "lr_range.stages is 1, which measures no range: set bounds.learning_rate.max_factor, or "
        "lr_range.stages to 2 or 3"
    )
