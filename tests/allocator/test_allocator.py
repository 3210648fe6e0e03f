"""The simulation of torch's caching allocator, against the rules of its source."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.allocator.caching import CachingAllocator, OutOfMemoryError
from harness.allocator.expandable import ExpandableAllocator
from harness.allocator.replay import replay
from harness.allocator.settings import AllocatorSettings
from harness.errors import HarnessError

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
    """A block of the large pool keeps a rest of up to 1 MiB."""
    allocator = CachingAllocator()
    assert 12 * MIB == allocator.malloc(11 * MIB).size


def test_freed_memory_is_used_again() -> None:
    """A block that was freed costs no new segment, and the peak stands still."""
    done = replay([30 * MIB, 30 * MIB], [0, ~0, 1, ~1])
    assert (30 * MIB, 30 * MIB, 0) == (
        done.reserved_bytes,
        done.peak_reserved_bytes,
        done.allocated_bytes,
    )


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
    """At the limit, wholly free segments are given back; that counts as a retry."""
    done = replay([60 * MIB, 80 * MIB], [0, ~0, 1], limit_bytes=100 * MIB)
    assert (80 * MIB, 80 * MIB, 1) == (
        done.reserved_bytes,
        done.peak_reserved_bytes,
        done.num_retries,
    )


def test_limit_is_met_exactly() -> None:
    """Reserving up to the limit is allowed, and not a byte beyond."""
    assert 100 * MIB == replay([100 * MIB], [0], limit_bytes=100 * MIB).reserved_bytes
    with pytest.raises(OutOfMemoryError):
        replay([100 * MIB], [0], limit_bytes=100 * MIB - 1)


def test_segment_with_a_live_block_stays() -> None:
    """A segment is given back only as a whole: one live block of the large pool keeps 20 MiB."""
    with pytest.raises(OutOfMemoryError):
        replay([2 * MIB, 8 * MIB, 20 * MIB], [0, 1, ~1, 2], limit_bytes=30 * MIB)


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [(1 << 20, 1 << 20), ((1 << 20) + 1, (1 << 20) + (1 << 18)), (1500, 1536)],
)
def test_roundup_power2_divisions(num_bytes: int, expected: int) -> None:
    """With four divisions, sizes round up to a quarter of a power of two; small ones to 512 B."""
    allocator = CachingAllocator(settings=AllocatorSettings(roundup_power2_divisions=(4,)))
    assert expected == allocator.round(num_bytes)


def test_max_split_size_keeps_large_blocks_whole() -> None:
    """A block of that size or more is neither split nor given to a smaller request."""
    settings = AllocatorSettings(max_split_size=32 * MIB)
    assert 84 * MIB == replay([64 * MIB, 2 * MIB], [0, ~0, 1], settings=settings).reserved_bytes
    assert 64 * MIB == replay([64 * MIB, 2 * MIB], [0, ~0, 1]).reserved_bytes


@given(st.lists(st.tuples(st.integers(1, 64 * MIB), st.booleans()), max_size=60))
def test_books_balance(requests: list[tuple[int, bool]]) -> None:
    """For all requests, no two live blocks overlap, and all freed memory is free."""
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


EXPANDABLE = AllocatorSettings(expandable_segments=True)


def test_expandable_segments_grow_by_pages() -> None:
    """Blocks share one range of addresses, so two of 30 MiB take three pages of 20 MiB."""
    assert 60 * MIB == replay([30 * MIB, 30 * MIB], [0, 1], settings=EXPANDABLE).reserved_bytes
    assert 40 * MIB == replay([30 * MIB], [0], settings=EXPANDABLE).reserved_bytes
    assert 2 * MIB == replay([512], [0], settings=EXPANDABLE).reserved_bytes


def test_expandable_segments_grow_with_what_is_asked_for() -> None:
    """A free block at the end of the range grows to 40 MiB; a segment of 30 MiB cannot."""
    sizes, events = [30 * MIB, 40 * MIB], [0, ~0, 1]
    assert 40 * MIB == replay(sizes, events, settings=EXPANDABLE).reserved_bytes
    assert 70 * MIB == replay(sizes, events).reserved_bytes


def test_expandable_segments_give_whole_pages_back() -> None:
    """At the limit, free pages between live blocks go back too; their addresses are used again."""
    sizes = [10 * MIB, 50 * MIB, 10 * MIB, 45 * MIB]
    done = replay(sizes, [0, 1, 2, ~1, 3], 100 * MIB, EXPANDABLE)
    assert (80 * MIB, 0) == (done.reserved_bytes, done.num_retries)
    # A small block asks for a page of its pool, where the large pool has all that the limit allows.
    done = replay([60 * MIB, 20 * MIB, 512], [0, 1, ~0, 2], 80 * MIB, EXPANDABLE)
    assert (20 * MIB + 2 * MIB, 1) == (done.reserved_bytes, done.num_retries)


@given(
    st.lists(st.tuples(st.integers(1, 64 * MIB), st.booleans()), max_size=60),
    st.sampled_from([None, 200 * MIB]),
)
def test_books_of_expandable_segments_balance(
    requests: list[tuple[int, bool]], limit: int | None
) -> None:
    """For all requests, no two live blocks overlap, and all memory can be given back."""
    allocator = ExpandableAllocator(limit, EXPANDABLE)
    live = []
    for num_bytes, free in requests:
        with suppress(OutOfMemoryError):
            live.append(allocator.malloc(num_bytes))
        if free and live:
            allocator.free(live.pop(len(live) // 2))
    spans = sorted((chunk.address, chunk.address + chunk.size) for chunk in live)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert sum(chunk.size for chunk in live) == allocator.allocated_bytes
    assert allocator.allocated_bytes <= allocator.reserved_bytes
    for chunk in live:
        allocator.free(chunk)
    allocator._release_free_segments()
    assert (0, 0) == (allocator.allocated_bytes, allocator.reserved_bytes)
    assert [1, 1] == [len(holes) for holes in allocator._unmapped.values()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", AllocatorSettings()),
        ("expandable_segments:True", EXPANDABLE),
        (
            "max_split_size_mb:128, expandable_segments:False",
            AllocatorSettings(max_split_size=128 * MIB),
        ),
        (
            "roundup_power2_divisions:8,max_non_split_rounding_mb:4",
            AllocatorSettings((8,), None, 4 * MIB),
        ),
        (
            "roundup_power2_divisions:[2:1,4:2,>:8]",
            AllocatorSettings((1, 1, 2, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8)),
        ),
        ("backend:native,garbage_collection_threshold:0.8", AllocatorSettings()),
    ],
)
def test_settings_of_the_environment(text: str, expected: AllocatorSettings) -> None:
    """PYTORCH_CUDA_ALLOC_CONF is read as torch reads it; keys that change no size are ignored."""
    assert expected == AllocatorSettings.of_environment({"PYTORCH_CUDA_ALLOC_CONF": text})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backend:cudaMallocAsync", "only torch's native allocator can be simulated"),
        ("expandable_segments:1", "has to be True or False, not 1"),
        ("max_split_size_mb:many", "max_split_size_mb has to be a whole number, not many"),
        ("roundup_power2_divisions:3", "has to be a power of two, not 3"),
        ("expandable_segments", "is not of the form key:value,key:value from column 1 on"),
        ("max_split_size_mb:1,,", "from column 21 on"),
    ],
)
def test_wrong_settings_of_the_environment(text: str, message: str) -> None:
    """Settings that torch would refuse are refused, and those that cannot be simulated too."""
    with pytest.raises(
        HarnessError, match=f"^PYTORCH_CUDA_ALLOC_CONF={re.escape(text)}.*{re.escape(message)}"
    ):
        AllocatorSettings.of_environment({"PYTORCH_CUDA_ALLOC_CONF": text})
