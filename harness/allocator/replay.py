"""Runs the allocations and frees of a training by the allocator's rules. Pure: no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.allocator.caching import CachingAllocator
from harness.allocator.expandable import ExpandableAllocator
from harness.allocator.settings import AllocatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.allocator.caching import Chunk


def replay(
    sizes: Sequence[int],
    events: Iterable[int],
    limit_bytes: int | None = None,
    settings: AllocatorSettings | None = None,
) -> CachingAllocator:
    """Run the allocations (i) and frees (~i) of blocks, and return the allocator after them.

    `sizes` are the bytes of the blocks; a block of no bytes takes none. Raises OutOfMemoryError
    when a block does not fit.
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
