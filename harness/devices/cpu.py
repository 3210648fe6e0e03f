"""The CPU with a bounded memory budget: real training, real allocation failures, no GPU.

The limit is on what the case itself holds: module, gradients, optimizer state, activations, inputs. It is
enforced by RLIMIT_DATA, which bounds a process's private writable memory. What a process holds that has
run a dummy step, less its module, is added on top, so that the interpreter and the libraries are free.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# glibc's mallopt(3): the parameters' numbers, and the largest threshold that it takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK = 32 << 20
# What Python's allocator takes from the system at a time, and how much of that is taken in advance.
_ARENA_BYTES = 1 << 20
_RESERVE_BYTES = 8 * _ARENA_BYTES
# Below MALLOC_MMAP_THRESHOLD_, from which on malloc leaves the heap alone; and what it hands out at least, nearly.
_LARGEST_HOLE_BYTES = 7168
# glibc caches freed blocks by their exact size up to here, in steps of so many bytes.
_LARGEST_CACHED_BYTES, _GRAIN_BYTES = 1032, 16
# What it keeps in front of a block.
_HEADER_BYTES = 8
# Far more than there are: a malloc that this knows nothing of must not be able to keep it busy for ever.
_MAX_HOLES = 100_000


class CpuDevice:
    """The parent side of the CPU."""

    emulated = True
    can_snapshot = False
    # glibc's malloc must give memory back to the kernel at once, from one arena; else the boundary between
    # fits and out of memory moves by 5% from run to run. Blocks of pages come from the kernel, not from a heap whose
    # holes depend on what was there before: with a threshold of 64 KiB peaks moved by up to 30 pages, with this by 3.
    # One thread, so that it does not depend on the cores.
    environment: Mapping[str, str] = {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "8192",
        "MALLOC_TRIM_THRESHOLD_": "0",
        "MALLOC_TOP_PAD_": "0",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        # Kernels are compiled for the CPU at hand, and differ in their memory by up to a quarter: the same
        # ones everywhere, so that a lock made on one machine holds on another.
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # The order of sets of strings decides what is allocated when.
        "PYTHONHASHSEED": "0",
        "CUDA_VISIBLE_DEVICES": "",
    }
    versions: Mapping[str, str] = {}
    memory_settings: dict[str, Any] = {}  # noqa: RUF012 - nothing of the host's environment gets through

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.identity = DeviceIdentity("cpu", budget_bytes)
        self.bound: dict[str, Any] = {"accelerator": "cpu", "budget_bytes": budget_bytes}

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Do nothing: budgets are per process, so that cases may run side by side."""
        yield

    def settle(self) -> None:
        """Do nothing: what a process held is back when it has ended."""

    def notes(self) -> tuple[str, ...]:
        """Return nothing."""
        return ()


class HostBound:
    """The child side: RLIMIT_DATA, and the kernel's own record of the largest size of the process."""

    trainer_arguments: Mapping[str, Any] = {"accelerator": "cpu", "devices": 1}

    def __init__(self, budget_bytes: int) -> None:
        self.limit_bytes = budget_bytes
        self._offset_bytes: int | None = None
        self._base_bytes = 0
        self._reserve: list[bytes] = []

    def start(self) -> None:
        """Do nothing: there is no device memory to prepare."""

    def engage(self, module: Any) -> None:
        """Set the limit: the budget above the process as it is now without its module."""
        _dummy_step()
        gc.collect()
        self._reserve = _reserve_small_objects()
        _fill_holes()
        module_bytes = _module_bytes(module)
        size = _memory_of_this_process()
        self._offset_bytes = size["VmSize"] - module_bytes
        self._base_bytes = size["VmData"] - module_bytes
        self.rescale(1.0)

    def rescale(self, share: float) -> None:
        """Allow `share` times the budget."""
        soft = self._base_bytes + int(share * self.limit_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, resource.RLIM_INFINITY))

    def peak_bytes(self) -> int:
        """Return the growth of the process to its largest size; exact to a page, as no memory is sampled.

        VmPeak counts every mapping. After the dummy step only data is mapped anew, which makes its growth
        the growth of what RLIMIT_DATA counts.
        """
        if self._offset_bytes is None:
            return 0
        return _memory_of_this_process()["VmPeak"] - self._offset_bytes

    def begin_validation(self) -> None:
        """Do nothing: the kernel's record of the largest size cannot be reset."""

    def validation_peak_bytes(self) -> int:
        """Return the peak of training and validation."""
        return self.peak_bytes()

    def warmed_up(self) -> None:
        """Do nothing: malloc keeps no cache to be filled."""

    def facts(self) -> dict[str, int]:
        """Return nothing beyond the peak."""
        return {}

    def record(self) -> None:
        """Do nothing: malloc keeps no history."""

    def dump(self, path: str) -> None:
        """Do nothing."""

    def lift(self) -> None:
        """Remove the limit, and let malloc keep what is freed: an unbounded process need not give it back."""
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        libc = ctypes.CDLL(None)
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(parameter, _LARGEST_HEAP_BLOCK)


def _memory_of_this_process() -> dict[str, int]:
    """Return VmPeak, VmSize and VmData in bytes."""
    sizes = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmPeak", "VmSize", "VmData"):
            sizes[name] = int(value.split()[0]) * 1024
    return sizes


def _module_bytes(module: Any) -> int:
    """Sum the storage of parameters and buffers, ties counted once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(storages.values())


def _reserve_small_objects() -> list[bytes]:
    """Have Python take memory for its small objects now, so that theirs is not counted as the case's.

    Python takes it in arenas of 1 MiB, which would move the boundary by as much. Objects that are kept here
    and there hold each arena; the room between them is free for whatever comes. Returns those objects.
    """
    size = 200
    objects = [bytes(size) for _ in range(_RESERVE_BYTES // size)]
    return objects[:: _ARENA_BYTES // (4 * size)]


def _fill_holes() -> None:
    """Take all free room inside malloc's heap, for good, so that whatever comes makes the heap grow.

    Which room an import has left differs by some 100 KiB from one process to the next, and with it the boundary:
    without, it moves by up to 0.2% between processes that were not forked from the same one. In the end, the free rest
    of the heap begins at the same place in a page, always: from there on, blocks lie alike in all processes.
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
        # Not a hole: the heap has grown, or it is full, or another malloc than glibc's keeps no heap there.
        if libc.sbrk(0) != end or block is None or block > end:
            libc.free(block)
            size = next(sizes, 0)
            if not size:
                break
    # A block of the smallest kind tells where the next one would begin; one more takes what is left of its page.
    following = int(libc.malloc(_GRAIN_BYTES)) + 2 * _GRAIN_BYTES
    rest = (_GRAIN_BYTES - following) % mmap.PAGESIZE
    libc.malloc(rest + mmap.PAGESIZE - _HEADER_BYTES)


def _hole_sizes() -> Iterator[int]:
    """Yield sizes of blocks in bytes, descending: roughly, then each of those for which malloc keeps a cache."""
    size = _LARGEST_HOLE_BYTES
    while size > _LARGEST_CACHED_BYTES:
        yield size
        size = size * 3 // 4
    yield from range(_LARGEST_CACHED_BYTES, 0, -_GRAIN_BYTES)


def _dummy_step() -> None:
    """Train a tiny network for one step, so that what any training holds once is there before the limit."""
    import torch  # noqa: PLC0415 - the pytest process imports this module, and must never import torch

    state = torch.random.get_rng_state()
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10)
    )
    optimizer = torch.optim.AdamW(layers.parameters())
    loss = torch.nn.functional.cross_entropy(layers(torch.rand(4, 3, 8, 8)), torch.zeros(4, dtype=torch.long))
    loss.backward()  # type: ignore[no-untyped-call] # torch leaves Tensor.backward untyped
    optimizer.step()
    torch.random.set_rng_state(state)
