"""Searches the batch size of each bucket of lengths, and a set of sizes that fits in turn.

Each bucket is searched alone, at its edge. torch's allocator keeps blocks of the sizes that it has
seen, so sizes that fit alone may not fit in one training: a last probe trains on all of them.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.batch_search.repeated import with_repeated_bracket
from harness.batch_search.training import num_steps, search_training, train
from harness.case_names import label
from harness.errors import WorkloadError
from harness.measurement import Bucket
from harness.probes.outcomes import describe_outcome, describe_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.batch_search.sizes import FoundBatch
    from harness.matrix.settings import SearchSettings
    from harness.measurement import Probe
    from harness.probes.open_cases import OpenCase
    from harness.protocol.messages import BucketBatch

_log = logging.getLogger("harness")

_PERCENT = 100
_SHRUNK = "the buckets train alone at {alone}, and in turn at {percent}% of these sizes: {why}"
_THRASHING = (
    "in turn the buckets train, but they thrash: torch's allocator emptied its cache {number} times "
    "in {steps} steps, which is slow; set search.allow_thrashing: false, so that sizes are found "
    "that fit beside each other's blocks, or PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
)


@dataclass(frozen=True)
class FoundBuckets:
    """The batch sizes of all buckets."""

    buckets: tuple[Bucket, ...]
    probes: tuple[Probe, ...]
    """All but those of the last bucket's own search."""
    warnings: tuple[str, ...] = ()


def search_buckets(
    opened: OpenCase,
    last: FoundBatch,
    use: Callable[[FoundBatch], int],
    *,
    repeat: bool = False,
) -> FoundBuckets:
    """Search every bucket but the last, from the longest down, and then train all in turn.

    last: what the case's own search has found, which is that of the last bucket.
    use: takes what a search has found, and returns the batch size to train with.
    repeat: probe the bracket of each answer once more.

    Raises WorkloadError where a bucket has no batch size, or all of them do not train in turn.
    """
    *smaller, own = opened.case.buckets
    known = [(own["edge"], last.max_batch_size)]
    sizes = [Bucket(own["edge"], use(last), last.max_batch_size, last.bounded_by)]
    probes: tuple[Probe, ...] = ()
    warnings: tuple[str, ...] = ()
    for spec in reversed(smaller):
        edge = spec["edge"]
        at = _in_bucket(opened, edge)
        _log.info("%s: searching the bucket up to %s", opened.case.id, label(edge))
        found = search_training(at, _aim(known, edge))
        if repeat:
            found, more = with_repeated_bracket(at, found)
            warnings += tuple(f"bucket {label(edge)}: {warning}" for warning in more)
        probes += found.probes
        if not found.max_batch_size:
            raise _no_batch(edge, found)
        notes = () if found.best is None else found.best.notes
        warnings += tuple(f"bucket {label(edge)}: {note}" for note in notes)
        known.insert(0, (edge, found.max_batch_size))
        sizes.insert(0, Bucket(edge, use(found), found.max_batch_size, found.bounded_by))
    joint = _joint(opened, tuple(sizes))
    return replace(joint, probes=probes + joint.probes, warnings=warnings + joint.warnings)


def in_turn(opened: OpenCase, buckets: Sequence[Bucket]) -> OpenCase:
    """Return the case whose probes train on a batch of each bucket in turn, of these sizes."""
    sizes = {bucket.edge: bucket.batch_size for bucket in buckets}
    batches: tuple[BucketBatch, ...] = tuple(
        {"bucket": spec, "batch_size": sizes[spec["edge"]]} for spec in opened.case.buckets
    )
    return replace(opened, in_turn=batches)


def _in_bucket(opened: OpenCase, edge: float) -> OpenCase:
    """Return the case at another bucket: its data, its locked size, and as many samples as come."""
    (spec,) = (one for one in opened.case.buckets if one["edge"] == edge)
    locked = None
    if opened.locked is not None:
        then = [one.max_batch_size for one in opened.locked.buckets if one.edge == edge]
        locked = replace(opened.locked, max_batch_size=then[0]) if then else None
    # Only a pass over the bucket's own data tells how many there are.
    description = replace(opened.description, num_samples=None)
    return replace(opened, bucket=spec, locked=locked, description=description)


def _aim(known: Sequence[tuple[float, int]], edge: float) -> int:
    """Return about the batch that fits at an edge: a power of the length, as longer ones show.

    Texts take memory by their length or its square, images by the square of their sides.
    """
    (nearest, size), *longer = known
    power = 1.0
    if longer and longer[0][1] < size:
        power = math.log(size / longer[0][1]) / math.log(longer[0][0] / nearest)
    return max(1, int(size * (nearest / edge) ** min(power, 3.0)))


def _joint(opened: OpenCase, buckets: tuple[Bucket, ...]) -> FoundBuckets:
    """Train all buckets in turn, at smaller sizes where they do not fit together.

    All are smaller by one share: in whole percent, the largest that fits where one more does not.
    """
    if len(buckets) == 1:
        return FoundBuckets(buckets, ())
    search = opened.case.search
    probes: list[Probe] = []

    def fits(percent: int) -> bool:
        tried = _scaled(buckets, percent, search)
        before = [one for one in probes if list(one.buckets.values()) == _sizes(tried)]
        if not before:
            probe = _train_in_turn(opened, tried)
            _log.info(
                "%s: %s", opened.case.id, describe_probe(probe, opened.runner.memory_limit_bytes)
            )
            probes.append(probe)
            if probe.outcome not in ("fits", "oom"):
                raise _not_in_turn(probe)
        return (before or probes)[-1].outcome == "fits"

    percent = _largest_percent(fits, _locked_percent(opened, buckets))
    if not percent:
        raise _not_in_turn(probes[-1])
    fitting = [one for one in probes if one.outcome == "fits"][-1]
    thrashing: tuple[str, ...] = ()
    if fitting.alloc_retries:
        thrashing = (_THRASHING.format(number=fitting.alloc_retries, steps=fitting.steps),)
    if percent == _PERCENT:
        return FoundBuckets(buckets, tuple(probes), thrashing)
    alone = ", ".join(f"{label(one.edge)}: {one.batch_size}" for one in buckets)
    failed = next(one for one in reversed(probes) if one.outcome != "fits")
    warning = _SHRUNK.format(alone=alone, why=describe_outcome(failed), percent=percent)
    scaled = _scaled(buckets, percent, search)
    return FoundBuckets(scaled, tuple(probes), (warning, *thrashing))


def _locked_percent(opened: OpenCase, buckets: Sequence[Bucket]) -> int | None:
    """Return the share that is locked, where the search in turn begins; None where none is."""
    if opened.locked is None or not opened.locked.buckets:
        return None
    then, now = opened.locked.buckets[-1], buckets[-1]
    return max(1, min(_PERCENT, round(_PERCENT * then.batch_size / now.batch_size)))


def _largest_percent(fits: Callable[[int], bool], begin: int | None) -> int:
    """Return a percentage that fits where one more does not, or all of it; 0 if none fits.

    begin: where to begin; None: with all of it. The drop then doubles, and is bisected.
    """
    low, failing = 0, _PERCENT + 1
    if begin is not None:
        for percent in (begin, begin + 1, _PERCENT):
            if low < percent < failing:
                low, failing = (percent, failing) if fits(percent) else (low, percent)
    drop, top = 0, failing - 1
    while not low and drop < top:
        low, failing = (top - drop, failing) if fits(top - drop) else (0, top - drop)
        drop = 2 * drop or 1
    if not low and failing > 1 and fits(1):
        low = 1
    while low and failing - low > 1:
        middle = (low + failing) // 2
        low, failing = (middle, failing) if fits(middle) else (low, middle)
    return low


def _scaled(buckets: Sequence[Bucket], percent: int, search: SearchSettings) -> tuple[Bucket, ...]:
    """Return the buckets at a share of their batch sizes, to the nearest multiple of `round_to`.

    Rounded down, small batches would fall by far more than the share.
    """
    step = search.round_to

    def size(bucket: Bucket) -> int:
        if bucket.batch_size < step:
            return bucket.batch_size
        scaled = step * math.ceil(bucket.batch_size * percent / _PERCENT / step - 0.5)
        return max(min(step, bucket.batch_size), scaled)

    return tuple(replace(bucket, batch_size=size(bucket)) for bucket in buckets)


def _sizes(buckets: Sequence[Bucket]) -> list[int]:
    return [bucket.batch_size for bucket in buckets]


def _train_in_turn(opened: OpenCase, buckets: Sequence[Bucket]) -> Probe:
    """Train until each bucket has followed each; each of the worst batches, where they are asked.

    Of these there are several for each bucket.
    """
    turns = len(buckets) ** 2
    rounds = math.ceil(num_steps(opened.case.search, 1) / len(buckets))
    steps = max(turns * rounds, opened.case.search.steps_per_trial)
    return train(in_turn(opened, buckets), buckets[-1].batch_size, steps=steps)


def _no_batch(edge: float, found: FoundBatch) -> WorkloadError:
    smallest = min(found.probes, key=lambda probe: probe.batch_size)
    return WorkloadError(
        f"no batch size of the bucket up to {label(edge)} trains, though one of a longer bucket does: "
        f"{describe_outcome(smallest)}",
        smallest.traceback or "",
        log=smallest.log,
    )


def _not_in_turn(probe: Probe) -> WorkloadError:
    return WorkloadError(
        f"each bucket trains alone, and not in turn with the others: {describe_outcome(probe)}",
        probe.traceback or "",
        log=probe.log,
    )
