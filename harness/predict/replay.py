"""Runs the allocations and frees of a trace through the allocator that is simulated. Pure: no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.predict.allocator import CachingAllocator
from harness.predict.allocator_settings import AllocatorSettings
from harness.predict.expandable import ExpandableAllocator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.predict.allocator import Chunk


def replay(
    sizes: Sequence[int],
    events: Iterable[int],
    limit_bytes: int | None = None,
    settings: AllocatorSettings | None = None,
) -> CachingAllocator:
    """Run the allocations (i) and frees (~i) of blocks with these sizes in bytes, and return the allocator after them.

    Raises OutOfMemoryError where one does not fit. Blocks of no bytes take none.
    """
    settings = settings or AllocatorSettings()
    kind = ExpandableAllocator if settings.expandable_segments else CachingAllocator
    allocator = kind(limit_bytes, settings)
    live: dict[int, Chunk] = {}
    for event in events:
        if event < 0:
            chunk = live.pop(~event, None)
            if chunk is not None:
                allocator.free(chunk)
        elif sizes[event]:
            live[event] = allocator.malloc(sizes[event])
    return allocator
