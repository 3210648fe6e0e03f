"""The caching allocator with `expandable_segments:True`. Pure: no torch.

Each pool has one range of addresses, which is mapped page by page.

After c10/cuda/CUDACachingAllocator.cpp (PyTorch 2.13): the pages of the small pool have 2 MiB,
those of the large one 20 MiB; a request that finds no free block begins in the free block before
the lowest unmapped range that leaves it enough addresses, and maps the rest; the limit is compared
as if a segment of its own were made; when it is met, whole pages in free blocks go back.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING

from harness.allocator.caching import (
    GRAIN,
    LARGE_SEGMENT,
    SMALL_SEGMENT,
    CachingAllocator,
    Chunk,
    is_small,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.allocator.settings import AllocatorSettings

# Of addresses per pool: whole pages, and more than any GPU has memory.
_RANGE = LARGE_SEGMENT << 20


class ExpandableAllocator(CachingAllocator):
    """Reserves pages below `limit_bytes`, and hands out parts of what they hold."""

    def __init__(self, limit_bytes: int | None, settings: AllocatorSettings) -> None:
        super().__init__(limit_bytes, settings)
        # Addresses without memory, ascending: what is left of each pool's range, and what went
        # back.
        self._unmapped = {small: [self._range(small)] for small in (True, False)}

    def _range(self, small: bool) -> Chunk:  # noqa: FBT001 - the key of a pool, as everywhere here
        chunk = Chunk(0 if small else _RANGE, _RANGE, small=small)
        chunk.mapped = False
        return chunk

    def _find(self, size: int) -> Chunk | None:
        """Take the smallest free chunk that suffices, but one with room to grow behind it last."""
        pool = self._free[is_small(size)]
        index = bisect_left(pool, (size, -1))
        if index == len(pool):
            return None
        chunk = self._at[pool[index][1]]
        for (_, one), (_, other) in pairwise(pool[index:]):
            if _with_room(self._at[other]) >= _with_room(self._at[one]):
                break
            chunk = self._at[other]
        self._take(chunk)
        return chunk

    def _reserve(self, size: int) -> Chunk:
        segment = self.segment_of(size)
        self._make_room(segment)
        hole = next(hole for hole in self._unmapped[is_small(size)] if _addresses_at(hole) >= size)
        chunk = hole.before if hole.before is not None and hole.before.free else None
        if chunk is not None:
            self._take(chunk)
        while chunk is None or chunk.size < size:
            missing = size - (0 if chunk is None else chunk.size)
            mapped = self._map(hole if chunk is None else _behind(chunk), missing)
            chunk = mapped if chunk is None else self._join(chunk, mapped)
            if chunk.behind is not None and chunk.behind.free:
                self._take(chunk.behind)
                chunk = self._join(chunk, chunk.behind)
        return chunk

    def _map(self, hole: Chunk, size: int) -> Chunk:
        """Give the beginning of a hole memory, in whole pages."""
        page = SMALL_SEGMENT if hole.small else LARGE_SEGMENT
        size = min(-(-size // page) * page, hole.size)
        holes = self._unmapped[hole.small]
        if size < hole.size:
            rest = Chunk(hole.address + size, hole.size - size, small=hole.small)
            rest.mapped = False
            rest.insert_behind(hole)
            holes[holes.index(hole)] = rest
            hole.size = size
        else:
            holes.remove(hole)
        hole.mapped = True
        self._at[hole.address] = hole
        self._count(size)
        return hole

    def _join(self, chunk: Chunk, other: Chunk) -> Chunk:
        """Append a chunk to the one before it; neither is in a pool."""
        chunk.size += other.size
        chunk.behind = other.behind
        if chunk.behind is not None:
            chunk.behind.before = chunk
        del self._at[other.address]
        return chunk

    def _release_free_segments(self) -> None:
        for small, free in self._free.items():
            page = SMALL_SEGMENT if small else LARGE_SEGMENT
            for _, address in list(free):
                self._unmap(self._at[address], page)
            self._unmapped[small] = sorted(
                _merged(self._unmapped[small]), key=lambda hole: hole.address
            )

    def _unmap(self, chunk: Chunk, page: int) -> None:
        """Turn the whole pages of a free chunk into a hole."""
        first = -(-chunk.address // page) * page
        end = (chunk.address + chunk.size) // page * page
        if first >= end:
            return
        self._take(chunk)
        hole = chunk
        if first > chunk.address:
            hole = Chunk(first, chunk.size - (first - chunk.address), small=chunk.small)
            hole.insert_behind(chunk)
            chunk.size = first - chunk.address
            self._put(chunk)
        if hole.address + hole.size > end:
            rest = Chunk(end, hole.address + hole.size - end, small=chunk.small)
            rest.insert_behind(hole)
            hole.size = end - first
            self._put(rest)
        hole.mapped = False
        self._at.pop(hole.address, None)
        self._unmapped[chunk.small].append(hole)
        self.reserved_bytes -= hole.size

    def _splits(self, _chunk: Chunk, _size: int, rest: int) -> bool:
        return rest >= GRAIN


def _with_room(chunk: Chunk) -> int:
    """Return what a free chunk could become by mapping the addresses behind it."""
    behind = chunk.behind
    return chunk.size + (behind.size if behind is not None and not behind.mapped else 0)


def _behind(chunk: Chunk) -> Chunk:
    assert chunk.behind is not None, "the end of a pool's range is never mapped"
    return chunk.behind


def _addresses_at(hole: Chunk) -> int:
    """Return the number of consecutive addresses without a tensor around the start of a hole.

    They begin with the free chunk before the hole, if there is one.
    """
    chunk: Chunk | None = hole.before if hole.before is not None and hole.before.free else hole
    total = 0
    while chunk is not None and (chunk.free or not chunk.mapped):
        total += chunk.size
        chunk = chunk.behind
    return total


def _merged(holes: list[Chunk]) -> Iterator[Chunk]:
    """Join holes that lie side by side."""
    for hole in sorted(holes, key=lambda hole: hole.address):
        before = hole.before
        if before is not None and not before.mapped:
            before.size += hole.size
            before.behind = hole.behind
            if hole.behind is not None:
                hole.behind.before = before
        else:
            yield hole
