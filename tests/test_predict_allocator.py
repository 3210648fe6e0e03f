"""The simulation of torch's caching allocator, against the rules of its source."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.predict.allocator import AllocatorSettings, CachingAllocator, OutOfMemoryError, replay

MIB = 1 << 20


@pytest.mark.parametrize(
    ("num_bytes", "block", "segment"),
    [
        (1, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (14 * MIB - 1, 14 * MIB, 14 * MIB),
    ],
)
def test_sizes_of_blocks_and_segments(num_bytes: int, block: int, segment: int) -> None:
    """Blocks are rounded to 512 B; segments are 2 MiB, 20 MiB, or the block rounded up to 2 MiB."""
    allocator = CachingAllocator()
    assert (block, segment) == (allocator.malloc(num_bytes).size, allocator.reserved_bytes)


def test_small_rest_of_a_large_segment_is_not_split_off() -> None:
    """Up to 1 MiB beyond what was asked for stays with a block of the large pool."""
    allocator = CachingAllocator()
    assert 12 * MIB == allocator.malloc(11 * MIB).size


def test_freed_memory_is_used_again() -> None:
    """A block that was freed costs no new segment, and the peak stands still."""
    done = replay([30 * MIB, 30 * MIB], [0, ~0, 1, ~1])
    assert (30 * MIB, 30 * MIB, 0) == (done.reserved_bytes, done.peak_reserved_bytes, done.allocated_bytes)


def test_neighbours_merge() -> None:
    """Two freed halves of a segment hold a block of its whole size."""
    half = 10 * MIB - 512
    done = replay([half, half, 20 * MIB - 1024], [0, 1, ~0, ~1, 2])
    assert 20 * MIB == done.reserved_bytes


def test_small_and_large_blocks_have_pools_of_their_own() -> None:
    """Free room of the large pool is of no use to a small block."""
    done = replay([2 * MIB, 512], [0, ~0, 1])
    assert 20 * MIB + 2 * MIB == done.reserved_bytes


def test_best_fit() -> None:
    """Of two free blocks the smaller one that suffices is taken, and the larger one stays whole."""
    sizes = [40 * MIB, 24 * MIB, 24 * MIB, 40 * MIB]
    assert 64 * MIB == replay(sizes, [0, 1, ~0, ~1, 2, 3]).reserved_bytes


def test_free_segments_go_back_before_it_fails() -> None:
    """At the limit, what is cached and wholly free makes room; it counts as a retry."""
    done = replay([60 * MIB, 80 * MIB], [0, ~0, 1], limit_bytes=100 * MIB)
    assert (80 * MIB, 80 * MIB, 1) == (done.reserved_bytes, done.peak_reserved_bytes, done.num_retries)


def test_limit_is_met_exactly() -> None:
    """Reserving up to the limit is allowed, and not a byte beyond."""
    assert 100 * MIB == replay([100 * MIB], [0], limit_bytes=100 * MIB).reserved_bytes
    with pytest.raises(OutOfMemoryError):
        replay([100 * MIB], [0], limit_bytes=100 * MIB - 1)


def test_segment_with_a_live_block_stays() -> None:
    """A segment is given back only as a whole: one small live block of the large pool keeps 20 MiB."""
    with pytest.raises(OutOfMemoryError):
        replay([2 * MIB, 8 * MIB, 20 * MIB], [0, 1, ~1, 2], limit_bytes=30 * MIB)


@pytest.mark.parametrize(
    ("num_bytes", "expected"), [(1 << 20, 1 << 20), ((1 << 20) + 1, (1 << 20) + (1 << 18)), (1500, 1536)]
)
def test_roundup_power2_divisions(num_bytes: int, expected: int) -> None:
    """With four divisions, sizes go up to the next quarter of a power of two; small ones to 512 B."""
    allocator = CachingAllocator(settings=AllocatorSettings(roundup_power2_divisions=4))
    assert expected == allocator.round(num_bytes)


def test_max_split_size_keeps_large_blocks_whole() -> None:
    """A block from that size on is neither split nor lent to a smaller one."""
    settings = AllocatorSettings(max_split_size=32 * MIB)
    assert 84 * MIB == replay([64 * MIB, 2 * MIB], [0, ~0, 1], settings=settings).reserved_bytes
    assert 64 * MIB == replay([64 * MIB, 2 * MIB], [0, ~0, 1]).reserved_bytes


@given(st.lists(st.tuples(st.integers(1, 64 * MIB), st.booleans()), max_size=60))
def test_books_balance(requests: list[tuple[int, bool]]) -> None:
    """Whatever is asked for: no two live blocks overlap, and what is freed is free."""
    allocator = CachingAllocator()
    live = []
    for num_bytes, free in requests:
        live.append(allocator.malloc(num_bytes))
        if free:
            allocator.free(live.pop(len(live) // 2))
    spans = sorted((chunk.address, chunk.address + chunk.size) for chunk in live)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert sum(chunk.size for chunk in live) == allocator.allocated_bytes
    assert allocator.allocated_bytes <= allocator.reserved_bytes == allocator.peak_reserved_bytes
    for chunk in live:
        allocator.free(chunk)
    allocator._release_free_segments()
    assert (0, 0) == (allocator.allocated_bytes, allocator.reserved_bytes)
