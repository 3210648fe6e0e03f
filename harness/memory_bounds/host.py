"""Bounds a probe on the CPU by RLIMIT_DATA, and reads the kernel's record of the process's peak.

The limit is on the case's own memory: module, gradients, optimizer state, activations, inputs.
RLIMIT_DATA bounds a process's private writable memory. The interpreter and the libraries do not
count: after a dummy step, the memory of the process without its module is added to the limit.
"""

from __future__ import annotations

import gc
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.memory_bounds import heap
from harness.memory_bounds.children import free_children
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.protocol.case import RankPlace
    from harness.protocol.messages import MemoryFacts


# Smaller memory stays counted: Python's reserve for small objects takes most of it anyway.
_MUCH_BYTES = 1 << 20


# Mappings of these names are shared memory, not files on a disk.
_IN_MEMORY = ("/dev/shm/", "/dev/zero", "/memfd:", "/SYSV")  # noqa: S108 - names to compare with


class HostBound:
    """Bounds the memory of this process: the case's growth above what is there before training."""

    trainer_arguments: Mapping[str, Any] = {"accelerator": "cpu", "devices": 1}
    place: RankPlace | None = None

    def __init__(self, budget_bytes: int) -> None:
        self.limit_bytes = budget_bytes
        self._offset_bytes: int | None = None
        self._base_bytes = 0
        self._share: float | None = None
        self._peak_uncounted = 0
        self._largest_seen = 0
        self._held_before = 0
        # What is allowed, and what was seen of memory that the limit does not stop.
        self._allowed = 0.0
        self._soft = resource.RLIM_INFINITY
        self._lifted = False
        self._shared_before = self._shared_bytes = self._files_before = self._data_seen = 0
        self._reserve: list[bytes] = []

    def start(self) -> None:
        """Let the processes that this one starts go without its limit."""
        free_children()

    def engage(self, module: Any) -> None:
        """Set the limit: the budget on top of this process's memory without its module."""
        _dummy_step()
        gc.collect()
        self._reserve = heap.reserve_small_objects()
        heap.fill_holes()
        module_bytes = _module_bytes(module)
        self._held_before = heap.allocated_bytes() - module_bytes
        size = memory_of_this_process()
        self._offset_bytes = size["VmSize"] - module_bytes
        self._base_bytes = size["VmData"] - module_bytes
        self._shared_before = size["RssShmem"]
        self._files_before = mapped_files()
        self.rescale(1.0)

    def count_as_held(self, held_bytes: int) -> None:
        """Count memory as the case's that was there when the limit began, and no module shows."""
        self._base_bytes -= held_bytes
        self._offset_bytes = (self._offset_bytes or 0) - held_bytes
        self.rescale(1.0)

    def engage_before_wrapping(self, trainer: Any) -> None:
        """Do nothing: on one device nothing wraps the module."""

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Lift the limit for a block, and raise it by what the block leaves if that is much."""
        if self._share is None:
            yield
            return
        before = memory_of_this_process()
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            after = memory_of_this_process()
            left = after["VmData"] - before["VmData"]
            if left >= _MUCH_BYTES:
                self._base_bytes += left
                if self._offset_bytes is not None:
                    self._offset_bytes += left
                self._peak_uncounted = after["VmPeak"]
            self.rescale(self._share)

    def rescale(self, share: float) -> None:
        """Allow `share` times the budget."""
        self._share = share
        self._allowed = max(self._allowed, share * self.limit_bytes)
        soft = self._soft = self._base_bytes + int(share * self.limit_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, resource.RLIM_INFINITY))

    def peak_bytes(self) -> int:
        """Return the growth of the process to its largest size, exact to a page.

        The kernel records it, so nothing is sampled. VmPeak counts every mapping, RLIMIT_DATA only
        data. After the dummy step only data is mapped anew, so both grow alike.
        """
        if self._offset_bytes is None:
            return 0
        size = memory_of_this_process()
        self._shared_bytes = max(self._shared_bytes, size["RssShmem"] - self._shared_before)
        shared = size["RssShmem"] - self._shared_before
        self._data_seen = max(self._data_seen, size["VmData"] - self._base_bytes + shared)
        soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
        self._lifted = self._lifted or soft != self._soft
        # The kernel's record also holds what an uncounted block has taken and given back. Until the
        # case has taken more, only the sizes between its steps are known.
        self._largest_seen = max(self._largest_seen, size["VmSize"])
        above = size["VmPeak"] > self._peak_uncounted
        peak = (size["VmPeak"] if above else self._largest_seen) - self._offset_bytes
        if peak <= self._allowed:
            return peak
        if mapped_files() <= self._files_before and (self._lifted or self._shared_bytes):
            return peak
        # Files that are mapped to be read are the system's cache, and pages that nobody has touched
        # take nothing: neither is memory of the case.
        return self._data_seen

    def excess(self) -> str | None:
        """Return in words what the limit did not stop: shared mappings, or a limit that was lifted.

        RLIMIT_DATA does not count shared memory.
        """
        if self._offset_bytes is None:
            return None
        peak, limit, share = self.peak_bytes(), self.limit_bytes, self._shared_bytes
        if not self._lifted:
            # The private part stayed within the limit; untouched parts of a mapping take nothing.
            peak = min(peak, int(self._allowed) + share)
        if peak <= self._allowed or not (self._lifted or share):
            return None
        how = (
            "the training changes RLIMIT_DATA, the limit of its process"
            if self._lifted
            else f"{format_bytes(share)} of it are shared memory, which counts like any other"
        )
        return f"the process took {format_bytes(peak)} of {format_bytes(limit)}: {how}"

    def held_bytes(self) -> int:
        """Return what malloc has given out: the size of the process has holes of freed blocks."""
        return heap.allocated_bytes() - self._held_before

    def begin_validation(self) -> None:
        """Do nothing: the kernel's record of the largest size cannot be reset."""

    def validation_peak_bytes(self) -> int:
        """Return the peak of training and validation together."""
        return self.peak_bytes()

    def warmed_up(self) -> None:
        """Do nothing: malloc counts no retries."""

    def facts(self) -> MemoryFacts:
        """Return no figures beyond the peak."""
        return {}

    def record(self, *, stacks: bool) -> None:
        """Do nothing: malloc keeps no history."""

    def write_history(self, path: str) -> None:
        """Do nothing: there is no history to write."""

    def dump(self, path: str) -> None:
        """Do nothing: there is no history to write."""

    def crowded_out(self, _free_bytes: int | None, _reserved_bytes: int) -> None:
        """Return None: each process has a limit of its own."""

    def lift(self) -> None:
        """Remove the limit, and let malloc keep freed blocks."""
        self._share = None
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        heap.keep_freed_blocks()


def memory_of_this_process() -> dict[str, int]:
    """Return VmPeak, VmSize, VmData and RssShmem in bytes; what the kernel does not tell is 0."""
    sizes = {"RssShmem": 0}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmPeak", "VmSize", "VmData", "RssShmem"):
            sizes[name] = int(value.split()[0]) * 1024
    return sizes


def mapped_files() -> int:
    """Return the bytes of files on disk that this process has mapped, other than to write."""
    total = 0
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        addresses, access, _, _, inode, *path = line.split(maxsplit=5)
        if inode == "0" or (path and path[0].startswith(_IN_MEMORY)):
            continue
        if access[1] == "w" and access[3] == "p":
            continue  # private copies are data
        start, _, end = addresses.partition("-")
        total += int(end, 16) - int(start, 16)
    return total


def _module_bytes(module: Any) -> int:
    """Return the bytes of parameters and buffers; storage that they share counts once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(storages.values())


def _dummy_step() -> None:
    """Train a tiny network for one step.

    The first training of a process makes allocations that stay. They must precede the limit.
    """
    import torch  # noqa: PLC0415 - pytest's process imports this module, and never torch

    state = torch.random.get_rng_state()
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10)
    )
    optimizer = torch.optim.AdamW(layers.parameters())
    loss = torch.nn.functional.cross_entropy(
        layers(torch.rand(4, 3, 8, 8)), torch.zeros(4, dtype=torch.long)
    )
    loss.backward()  # type: ignore[no-untyped-call] # untyped in torch
    optimizer.step()
    torch.random.set_rng_state(state)
