"""Brings the heap of a probe on the CPU into one state, so that the same batch always fits.

The free memory that glibc's malloc and Python's allocator keep differs from process to process.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The numbers of parameters of glibc's mallopt(3), and the largest threshold that it accepts.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK = 32 << 20
# Python's allocator takes memory from the system in arenas of this size. A probe reserves eight.
_ARENA_BYTES = 1 << 20
_RESERVE_BYTES = 8 * _ARENA_BYTES
# Just below MALLOC_MMAP_THRESHOLD_ (8192): larger blocks do not come from the heap.
_LARGEST_HOLE_BYTES = 7168
# glibc caches freed blocks by their exact size up to the first of these, in steps of the second.
_LARGEST_CACHED_BYTES, _GRAIN_BYTES = 1032, 16
# glibc keeps this much in front of a block.
_HEADER_BYTES = 8
# The fields of glibc's `struct mallinfo2`, each a size_t: mallinfo(3).
_MALLINFO = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd",
    "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip
# Far more than a heap has: with an unknown malloc the loop must end, too.
_MAX_HOLES = 100_000


def reserve_small_objects() -> list[bytes]:
    """Make Python reserve memory for small objects, so that they are not counted as the case's.

    Python takes that memory in arenas of 1 MiB, and a new arena would move the boundary by 1 MiB.
    Returns a few objects in each arena. They hold the arenas as long as the caller keeps them, and
    the room between them is free for later objects.
    """
    size = 200
    objects = [bytes(size) for _ in range(_RESERVE_BYTES // size)]
    return objects[:: _ARENA_BYTES // (4 * size)]


def fill_holes() -> None:
    """Fill all holes of malloc's heap for good, so that every later allocation makes it grow.

    The holes that imports leave differ by some 100 KiB from one process to the next. Unfilled, they
    move the boundary by up to 0.2% between processes that were not forked from the same one.
    Afterwards the free rest of the heap always begins at the same offset in a page, so that later
    blocks lie alike in all processes.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    sizes = _hole_sizes()
    size = next(sizes)
    for _ in range(_MAX_HOLES):
        end = libc.sbrk(0)
        block = libc.malloc(size)
        # The block filled no hole: the heap has grown or is full, or this is another malloc than
        # glibc's, without a heap there.
        if libc.sbrk(0) != end or block is None or block > end:
            libc.free(block)
            size = next(sizes, 0)
            if not size:
                break
    # The address of a block of the smallest size shows where the next one would begin. The second
    # block takes the rest of that page.
    following = int(libc.malloc(_GRAIN_BYTES)) + 2 * _GRAIN_BYTES
    rest = (_GRAIN_BYTES - following) % mmap.PAGESIZE
    libc.malloc(rest + mmap.PAGESIZE - _HEADER_BYTES)


def _hole_sizes() -> Iterator[int]:
    """Yield sizes of blocks in bytes, in descending order.

    Large sizes come in coarse steps. Then follows each size for which malloc has a cache.
    """
    size = _LARGEST_HOLE_BYTES
    while size > _LARGEST_CACHED_BYTES:
        yield size
        size = size * 3 // 4
    yield from range(_LARGEST_CACHED_BYTES, 0, -_GRAIN_BYTES)


class _MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO]


def allocated_bytes() -> int:
    """Return the bytes of all blocks that malloc has given out; 0 where it does not tell.

    glibc tells since 2.33. Memory that is mapped without malloc is not counted.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return 0
    libc.mallinfo2.restype = _MallInfo
    found = libc.mallinfo2()
    return int(found.uordblks + found.hblkhd)


def keep_freed_blocks() -> None:
    """Let malloc keep freed blocks: a process without a limit need not give them back."""
    libc = ctypes.CDLL(None)
    for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        libc.mallopt(parameter, _LARGEST_HEAP_BLOCK)
