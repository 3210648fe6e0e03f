"""Judges a batch size beside the case's own: that of a bucket, or of a function alone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.bounds.causes import because
from harness.bounds.sizes import largest_expected, smallest_allowed
from harness.bounds.verdict import Verdict, Violation

if TYPE_CHECKING:
    from harness.bounds.verdict import Bound
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement


class FurtherSize(NamedTuple):
    """The largest batch of something, as it is locked and as it was measured."""

    bound: Bound
    of: str
    """`validate`, `bucket 128`."""
    locked: int
    measured: int
    """0 when nothing fits."""
    noise: int


def judge_size(
    size: FurtherSize, measurement: Measurement, locked: LockedProfile, max_drop: float
) -> Verdict:
    """Judge a size by `bounds.batch_size.max_drop`, as the case's own batch is."""
    then, now = size.locked, size.measured
    allowed = smallest_allowed(then, max_drop, size.noise)
    change = f"batch size {now} of {size.of} is {abs(now / then - 1):.1%}"
    if now < allowed:
        found = f"{change} below the locked {then}"
        if not now:
            found = f"no batch size of {size.of} fits, where {then} is locked"
        message = (
            f"{found}; at least {allowed} is allowed (max_drop {100 * max_drop:g}%)"
            f"{because(measurement, locked)}"
        )
        return Verdict((Violation(size.bound, then, now, allowed, message),))
    if now > max(largest_expected(then, max_drop), then + size.noise):
        return Verdict(improvements=(f"{change} above the locked {then}",))
    return Verdict()
