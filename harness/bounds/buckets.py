"""Judges the largest batch of each bucket of lengths by the locked one. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.bounds.causes import because
from harness.bounds.further_sizes import FurtherSize, judge_size
from harness.bounds.sizes import noise_of, smallest_allowed
from harness.bounds.verdict import Verdict, Violation
from harness.case_names import label

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Bucket, Measurement


def judge_buckets(measurement: Measurement, locked: LockedProfile, max_drop: float) -> Verdict:
    """Judge each bucket by `bounds.batch_size.max_drop`, as the case's own batch is.

    That is the last bucket's, and judged already. Buckets that are not locked, or no more
    measured, are a change of the recipe, and judged there.
    """
    then = {bucket.edge: bucket for bucket in locked.buckets}
    alone = Verdict.combined(
        [
            _judge(measurement, locked, (then[bucket.edge], bucket), max_drop)
            for bucket in measurement.buckets[:-1]
            if bucket.edge in then
        ]
    )
    if alone.violations or not measurement.buckets or measurement.recipe != locked.recipe:
        return alone
    return Verdict.combined([alone, _judge_in_turn(measurement, locked, max_drop)])


def _judge_in_turn(measurement: Measurement, locked: LockedProfile, max_drop: float) -> Verdict:
    """Judge what all buckets together leave of the last one: they shrink by one share.

    That share is in whole percent. One is noise on the CPU, beside that of the size itself.
    """
    then, now = locked.buckets[-1], measurement.buckets[-1]
    share = now.batch_size / now.max_batch_size
    size = then.batch_size
    measured = int(share * then.max_batch_size)  # the bound on the largest batch judges the rest
    noise = noise_of(locked, size)
    allowed = smallest_allowed(size, max_drop, noise and noise + math.ceil(size / 100))
    if measured >= allowed:
        return Verdict()
    message = (
        f"in turn the buckets train at {share:.0%} of the sizes that they have alone, where "
        f"{size / then.max_batch_size:.0%} is locked{because(measurement, locked)}"
    )
    edge = label(now.edge)
    found = f"batch size {now.batch_size} of bucket {edge} is below the locked {size}: {message}"
    return Verdict((Violation("bucket_batch_size", size, now.batch_size, allowed, found),))


def _judge(
    measurement: Measurement,
    locked: LockedProfile,
    pair: tuple[Bucket, Bucket],
    max_drop: float,
) -> Verdict:
    then, now = pair
    step = locked.settings.get("search.round_to", 1)
    noise = noise_of(locked, then.max_batch_size, step if isinstance(step, int) else 1)
    of = f"bucket {label(then.edge)}"
    size = FurtherSize("bucket_batch_size", of, then.max_batch_size, now.max_batch_size, noise)
    return judge_size(size, measurement, locked, max_drop)
