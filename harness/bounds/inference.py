"""Judges the batch sizes of validate, test and predict alone by the locked ones. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.bounds.causes import because
from harness.bounds.sizes import largest_expected, noise_of, smallest_allowed
from harness.bounds.verdict import Verdict, Violation

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement


def judge_inference(measurement: Measurement, locked: LockedProfile, max_drop: float) -> Verdict:
    """Judge what is locked for each function by `bounds.batch_size.max_drop`, as training's is.

    A function that `search.inference` names no more is a change of the recipe, and judged there.
    """
    same_recipe = measurement.recipe == locked.recipe
    return Verdict.combined(
        [
            _judge(measurement, locked, function, max_drop)
            for function in locked.inference_batch_sizes
            if function in measurement.inference_batch_sizes or same_recipe
        ]
    )


def _judge(
    measurement: Measurement, locked: LockedProfile, function: str, max_drop: float
) -> Verdict:
    size = locked.inference_batch_sizes[function]
    measured = measurement.inference_batch_sizes.get(function, 0)
    noise = noise_of(locked, size)
    allowed = smallest_allowed(size, max_drop, noise)
    if measured < allowed:
        found = (
            f"batch size {measured} of {function} is {1 - measured / size:.1%} below the locked"
            if measured
            else f"no batch size of {function} fits, where"
        )
        is_locked = f"{size}" if measured else f"{size} is locked"
        message = (
            f"{found} {is_locked}; at least {allowed} is allowed (max_drop {100 * max_drop:g}%)"
            f"{because(measurement, locked)}"
        )
        return Verdict((Violation("inference_batch_size", size, measured, allowed, message),))
    if measured > max(largest_expected(size, max_drop), size + noise):
        change = f"{measured / size - 1:.1%} above the locked {size}"
        return Verdict(improvements=(f"batch size {measured} of {function} is {change}",))
    return Verdict()
