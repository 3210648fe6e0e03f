"""The CPU with a bounded memory budget: real training, real allocation failures, no GPU.

The probe's side is `harness.memory_bounds.host`.
"""

from __future__ import annotations

import platform
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.measurement import DeviceIdentity
from harness.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.protocol.case import BoundSpec

# Names of processors are shorter; a strange machine must not fill the lock.
_MAX_NAME = 80


class CpuDevice:
    """The CPU as pytest's process sees it."""

    emulated = True
    can_snapshot = False
    stands_for = None
    # glibc's malloc gets one arena and gives freed memory back to the kernel at once. Otherwise the
    # boundary between fits and out of memory moves by 5% from run to run. Blocks from 8 KiB on come
    # from the kernel, because the holes of the heap depend on what was there before: at a threshold
    # of 64 KiB peaks moved by up to 30 pages, at this one by 3. One thread, so that memory does not
    # depend on the number of cores.
    environment: Mapping[str, str] = {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "8192",
        "MALLOC_TRIM_THRESHOLD_": "0",
        "MALLOC_TOP_PAD_": "0",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        # oneDNN compiles its kernels for the CPU at hand, and their memory differs by up to a
        # quarter. With the same kernels everywhere, a lock made on one machine holds on another.
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # Hashes order the sets of strings, and their order decides what is allocated when.
        "PYTHONHASHSEED": "0",
        "CUDA_VISIBLE_DEVICES": "",
    }
    versions: Mapping[str, str] = {}
    # The variables above are fixed, so nothing in the host's environment changes what fits.
    memory_settings: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it

    def __init__(self, budget_bytes: int, count: int = 1) -> None:
        """Take the budget of each of `count` ranks."""
        self.budget_bytes = self.total_bytes = budget_bytes
        self.identity = DeviceIdentity("cpu", budget_bytes, count)
        self.bound: BoundSpec = {"accelerator": "cpu", "budget_bytes": budget_bytes}

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Do nothing: each process has a budget of its own, so cases may run side by side."""
        yield

    def settle(self) -> None:
        """Do nothing: a process gives its memory back when it ends."""

    def notes(self) -> tuple[str, ...]:
        """Return no notes."""
        return ()


UNBOUNDED = CpuDevice(1 << 40)
"""The device of workloads that are only built and described: they never reach its limit."""


def processor() -> str:
    """Return the name of this machine's processor, which decides the speed of a case on the CPU."""
    with suppress(OSError):
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return one_line(value.strip())[:_MAX_NAME]
    return platform.machine() or "unknown"
