"""Repeats the bracket of a search: the largest batch, and the smallest that failed above it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search.training import allowed_sizes, search_training, train
from harness.probes.outcomes import describe_outcome, describe_probe
from harness.progress.events import tell_phase

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.measurement import Probe
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")


def with_repeated_bracket(
    opened: OpenCase, found: FoundBatch
) -> tuple[FoundBatch, tuple[str, ...]]:
    """Probe the two batches next to the answer once more; return what then holds, and warnings.

    Where the largest batch does not train again, it is no batch to lock: the search goes on below
    it. Where the batch above it trains now, the answer stays, because it once failed.
    """
    best = found.max_batch_size
    if not best:
        return found, ()
    tell_phase(opened.case.id, "search, its bracket once more")
    _log.info("%s: repeating the bracket of batch %d", opened.case.id, best)
    again = _again(opened, found, best)
    if again.outcome != "fits":
        return _below(opened, replace(found, probes=(*found.probes, again)), again)
    probes = (*found.probes, again)
    above = _smallest_failure(found)
    if above is None:
        return replace(found, probes=probes), ()
    second = _again(opened, found, above.batch_size)
    found = replace(found, probes=(*probes, second))
    if second.outcome != "fits":
        return found, ()
    warning = (
        f"{describe_outcome(above)} in the search, and trained when it was repeated: the memory is "
        f"just at the edge, and batch {best}, which trained twice, is the answer"
    )
    return found, (warning,)


def _again(opened: OpenCase, found: FoundBatch, batch_size: int) -> Probe:
    """Probe a batch size as the search did."""
    probe = train(opened, batch_size, whole_epochs=found.whole_epochs)
    _log.info("%s: %s", opened.case.id, describe_probe(probe, opened.runner.memory_limit_bytes))
    return probe


def _smallest_failure(found: FoundBatch) -> Probe | None:
    """Return the failed probe next above the largest batch; None where nothing larger was tried."""
    failed = [
        probe
        for probe in found.probes
        if probe.batch_size > found.max_batch_size and probe.outcome != "fits"
    ]
    return min(failed, key=lambda probe: probe.batch_size, default=None)


def _below(opened: OpenCase, found: FoundBatch, again: Probe) -> tuple[FoundBatch, tuple[str, ...]]:
    """Search below a batch that trained once, and then failed."""
    size, out_of_memory = again.batch_size, again.outcome == "oom"
    if size > allowed_sizes(opened)[0]:
        lower = search_training(opened, below=size)
        probes = (*found.probes, *lower.probes)
        bound = lower.bounded_by if lower.bounded_by != "cap" else "memory"
    else:
        lower, probes, bound = replace(found, max_batch_size=0), found.probes, "nothing fits"
    result = replace(lower, probes=probes, bounded_by=bound if out_of_memory else "error")
    warning = (
        f"batch {size} trained in the search, and not when it was repeated "
        f"({describe_outcome(again)}): {lower.max_batch_size} is the answer"
    )
    return result, (warning,)
