"""torch's CUDA caching allocator, as far as it decides how many bytes are reserved. Pure: no torch.

After c10/cuda/CUDACachingAllocator.cpp and c10/core/AllocatorConfig.h (PyTorch 2.13), for one
device and one stream: sizes are rounded to 512 B; up to 1 MiB come from segments of 2 MiB, up to 10
MiB from segments of 20 MiB, more from segments of their own size, rounded up to 2 MiB; the smallest
free block that suffices is taken, at the lowest address, and split; freed blocks merge with their
free neighbours; when the limit is met, wholly free segments go back first.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from harness.allocator.settings import MIB, AllocatorSettings

GRAIN = 512
_SMALL = 1 * MIB
SMALL_SEGMENT = 2 * MIB
_LARGE_FROM = 10 * MIB
LARGE_SEGMENT = 20 * MIB
_ROUND_LARGE = 2 * MIB


class OutOfMemoryError(Exception):
    """The limit on reserved bytes does not leave room for an allocation."""


class Chunk:
    """A part of a segment, free or not, between its neighbours."""

    __slots__ = ("address", "before", "behind", "free", "mapped", "size", "small")

    def __init__(self, address: int, size: int, *, small: bool) -> None:
        self.address = address
        self.size = size
        self.small = small
        self.free = False
        self.mapped = True
        """Whether memory is behind its addresses: not always, where segments expand."""
        self.before: Chunk | None = None
        self.behind: Chunk | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a segment of its own."""
        return self.before is None and self.behind is None

    def insert_behind(self, chunk: Chunk) -> None:
        """Become the neighbour behind a chunk."""
        self.before, self.behind = chunk, chunk.behind
        if self.behind is not None:
            self.behind.before = self
        chunk.behind = self


class CachingAllocator:
    """Reserves segments below `limit_bytes`, and hands out parts of them."""

    def __init__(
        self, limit_bytes: int | None = None, settings: AllocatorSettings | None = None
    ) -> None:
        self.limit_bytes = limit_bytes
        self.settings = settings or AllocatorSettings()
        self.reserved_bytes = 0
        self.peak_reserved_bytes = 0
        self.allocated_bytes = 0
        self.peak_allocated_bytes = 0
        self.num_retries = 0
        """The number of times that segments went back because the limit was met."""
        # (size, address) of the free chunks of the small and the large pool, ascending.
        self._free: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        self._at: dict[int, Chunk] = {}
        self._next_address = 0

    def malloc(self, num_bytes: int) -> Chunk:
        """Allocate; raises OutOfMemoryError."""
        size = self.round(num_bytes)
        chunk = self._find(size) or self._reserve(size)
        self._split(chunk, size)
        self.allocated_bytes += chunk.size
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes)
        return chunk

    def free(self, chunk: Chunk) -> None:
        """Give a chunk back to its pool."""
        self.allocated_bytes -= chunk.size
        before, behind = chunk.before, chunk.behind
        if before is not None and before.free:
            self._take(before)
            before.size += chunk.size
            before.behind = behind
            if behind is not None:
                behind.before = before
            chunk = before
        if behind is not None and behind.free:
            self._take(behind)
            chunk.size += behind.size
            chunk.behind = behind.behind
            if chunk.behind is not None:
                chunk.behind.before = chunk
        self._put(chunk)

    def round(self, num_bytes: int) -> int:
        """Return the size of the block that a request takes."""
        divisions = self.settings.divisions_of(num_bytes)
        if divisions > 1 and num_bytes > GRAIN * divisions:
            step = (1 << (num_bytes.bit_length() - 1)) // divisions
            return -(-num_bytes // step) * step if num_bytes & (num_bytes - 1) else num_bytes
        return max(GRAIN, -(-num_bytes // GRAIN) * GRAIN)

    def _find(self, size: int) -> Chunk | None:
        """Take the smallest free chunk that suffices, at the lowest address."""
        small, most = is_small(size), self.settings.max_split_size
        free = self._free[small]
        index = bisect_left(free, (size, -1))
        if index == len(free):
            return None
        found, address = free[index]
        if most is not None and not small:
            if size < most <= found:
                return None
            if size >= most and found >= size + self.settings.max_non_split_rounding:
                return None
        chunk = self._at[address]
        self._take(chunk)
        return chunk

    def segment_of(self, size: int) -> int:
        """Return the size of the segment that is reserved for a block."""
        if is_small(size):
            return SMALL_SEGMENT
        return LARGE_SEGMENT if size < _LARGE_FROM else -(-size // _ROUND_LARGE) * _ROUND_LARGE

    def _reserve(self, size: int) -> Chunk:
        """Reserve a segment, after giving wholly free ones back where the limit asks for it."""
        segment = self.segment_of(size)
        self._make_room(segment)
        self._count(segment)
        chunk = Chunk(self._next_address, segment, small=is_small(size))
        self._next_address += segment
        self._at[chunk.address] = chunk
        return chunk

    def _make_room(self, segment: int) -> None:
        if self._exceeds(segment):
            self.num_retries += 1
            self._release_free_segments()
            if self._exceeds(segment):
                raise OutOfMemoryError

    def _count(self, num_bytes: int) -> None:
        self.reserved_bytes += num_bytes
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)

    def _exceeds(self, segment: int) -> bool:
        return self.limit_bytes is not None and self.reserved_bytes + segment > self.limit_bytes

    def _release_free_segments(self) -> None:
        for free in self._free.values():
            for _, address in list(free):
                chunk = self._at[address]
                if chunk.whole:
                    self._take(chunk)
                    del self._at[address]
                    self.reserved_bytes -= chunk.size

    def _split(self, chunk: Chunk, size: int) -> None:
        """Leave in the pool what a chunk has beyond `size`, if that is enough to be of use."""
        rest = chunk.size - size
        if not self._splits(chunk, size, rest):
            return
        tail = Chunk(chunk.address + size, rest, small=chunk.small)
        tail.insert_behind(chunk)
        chunk.size = size
        self._put(tail)

    def _splits(self, chunk: Chunk, size: int, rest: int) -> bool:
        most = self.settings.max_split_size
        return rest >= GRAIN if chunk.small else rest > _SMALL and (most is None or size < most)

    def _put(self, chunk: Chunk) -> None:
        chunk.free = True
        self._at[chunk.address] = chunk
        insort(self._free[chunk.small], (chunk.size, chunk.address))

    def _take(self, chunk: Chunk) -> None:
        chunk.free = False
        free = self._free[chunk.small]
        del free[bisect_left(free, (chunk.size, chunk.address))]


def is_small(size: int) -> bool:
    """Return whether a block of this size belongs to the small pool."""
    return size <= _SMALL
