"""Notices a training whose memory does not grow with the batch size that it is given."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.matrix.case import Case

_FLAT = (
    "from batch {0} to {1} the memory grows less than the samples take: {2} does not seem to use "
    "batch_size, or its data hold fewer samples, so this batch size may be wrong; {3} in that case"
)
_OF_TRAINING = (
    "the training",
    "pass it on, or give the training's object `num_samples` or set search.max_batch_size",
)
_OF_COMMAND = ("the command", "set search.max_batch_size to their number")
# Between two batches that are so far apart the memory has to grow: torch reserves a GPU's memory in
# blocks of many MiB.
_ENOUGH_SAMPLES = {"cpu": 128, "cuda": 16384}
# Input, loss and gradient of the smallest sample, and growth that is no noise of an allocator.
_LEAST_BYTES, _CLEAR_BYTES = 32, 64 << 10


def warn_of_flat_memory(case: Case, found: FoundBatch) -> tuple[str, ...]:
    """Warn where the memory of a training's steps does not grow with the batch as it should.

    Of its batches nothing else is known. A peak is the largest of several sums that are linear in
    the batch, so it never grows more slowly at larger batches, unless the batches do not grow.
    """
    by_command = case.workload.get("command") is not None
    if not by_command and case.workload.get("training") is None:
        return ()
    if found.bounded_by != "cap":
        return ()
    peaks = {one.batch_size: one.peak_memory_bytes for one in found.probes if one.outcome == "fits"}
    known = sorted((size, peak) for size, peak in peaks.items() if peak is not None)
    if len(known) < 2:  # noqa: PLR2004 - growth is that between two
        return ()
    added = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(known)]
    samples, grown = added[-1]
    # What a few samples take drowns in the allocator's own blocks.
    enough = _ENOUGH_SAMPLES[case.device.accelerator]
    steeper = [more / number for number, more in added[:-1] if more > _CLEAR_BYTES]
    expected = max([_LEAST_BYTES, *(slope / 2 for slope in steeper)])
    if samples < enough or grown >= expected * samples:
        return ()
    who = _OF_COMMAND if by_command else _OF_TRAINING
    return (_FLAT.format(known[-2][0], known[-1][0], *who),)
