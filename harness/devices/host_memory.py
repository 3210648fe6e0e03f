"""Checks that the host has the memory for a case, before the kernel has to kill a probe."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.devices.device import Device

# A zygote and a probe hold at least this: Python, torch and Lightning; on a GPU, also CUDA's memory
# on the host.
_PYTHON_BYTES = 256 << 20
_CUDA_BYTES = 1 << 30
# cgroup v1 writes the largest page-aligned number for "no limit".
_UNLIMITED = 1 << 60
SMALL_SHARED_BYTES = 64 << 20
"""The shared memory that a container has by default, enough for a few batches of images."""


def check_memory(device: Device, root: Path = Path("/")) -> None:
    """Raise MachineError when the host or this process's cgroup has too little memory for a case.

    root: the folder that holds `proc` and `sys`.
    """
    bound = device.bound
    budget, own = (
        (bound["budget_bytes"], _PYTHON_BYTES)
        if bound["accelerator"] == "cpu"
        else (0, _CUDA_BYTES)
    )
    count = device.identity.count
    available, where = available_memory(root)
    if available is None or count * (budget + own) <= available:
        return
    wanted = f"about {format_bytes(own)} for Python and torch"
    if budget:
        wanted = f"the budget of {format_bytes(budget)}, and {wanted}"
    if count > 1:
        wanted += f", on each of {count} ranks"
    raise MachineError(
        f"the host is short of memory: a probe takes {wanted}; {where} has "
        f"{format_bytes(available)} left. Free some, allow the container more, or lower the budget"
    )


def shared_memory_note(
    num_workers: int,
    folder: Path = Path("/dev/shm"),  # noqa: S108 - where Linux has it
) -> str | None:
    """Return a warning when data-loader workers have little shared memory for their batches."""
    if not num_workers:
        return None
    with suppress(OSError):
        found = os.statvfs(folder)
        total = found.f_blocks * found.f_frsize
        if total <= SMALL_SHARED_BYTES:
            return (
                f"{num_workers} data-loader workers pass their batches through {folder}, which has "
                f"{format_bytes(total)}: large batches fail there; make it larger "
                "(docker run --shm-size), or set num_workers to 0"
            )
    return None


def available_memory(root: Path = Path("/")) -> tuple[int | None, str]:
    """Return the bytes that processes may still take, and what limits them: the host or a cgroup.

    The bytes are None where the kernel does not give them. Page cache that can be dropped counts as
    available.
    """
    found = [*_of_host(root), *_of_cgroups(root)]
    return min(found, default=(None, "the host"), key=lambda pair: pair[0])


def _of_host(root: Path) -> Iterator[tuple[int, str]]:
    with suppress(OSError):
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024, "the host"


def _of_cgroups(root: Path) -> Iterator[tuple[int, str]]:
    """Yield the bytes left in each cgroup with a limit, from this process's own upward.

    Reads versions 1 and 2.
    """
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        for _, controllers, path in (line.split(":", 2) for line in lines):
            if not controllers:
                yield from _upward(root / "sys/fs/cgroup", path, "memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                yield from _upward(
                    root / "sys/fs/cgroup/memory",
                    path,
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                )


def _upward(mount: Path, path: str, limit: str, usage: str) -> Iterator[tuple[int, str]]:
    folder = mount / path.lstrip("/")
    while True:
        # In a container, its own cgroup is often the root, whatever the path is.
        with suppress(OSError, ValueError):
            most = int((folder / limit).read_text(encoding="ascii"))  # not a number: `max`
            if most < _UNLIMITED:
                used = int((folder / usage).read_text(encoding="ascii")) - _droppable(folder)
                yield max(0, most - used), f"the cgroup {folder} (limit {format_bytes(most)})"
        if folder == mount or mount not in folder.parents:
            return
        folder = folder.parent


def _droppable(folder: Path) -> int:
    """Return the bytes of page cache that were not used lately."""
    with suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0
