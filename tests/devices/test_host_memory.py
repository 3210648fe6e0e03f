"""The memory that the host has left for a case, by the kernel's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import MIB

from harness.devices import host_memory as host
from harness.devices.cpu import CpuDevice
from harness.errors import MachineError

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a root of the test's own, and return the root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


HOST = {"proc/meminfo": f"MemTotal: {64 * GIB // 1024} kB\nMemAvailable: {8 * GIB // 1024} kB\n"}
SECOND = {
    "proc/self/cgroup": "0::/ci/job\n",
    "sys/fs/cgroup/ci/job/memory.max": "max\n",
    "sys/fs/cgroup/ci/memory.max": f"{1 * GIB}\n",
    "sys/fs/cgroup/ci/memory.current": f"{900 * MIB}\n",
    "sys/fs/cgroup/ci/memory.stat": f"anon 1\ninactive_file {400 * MIB}\n",
}
FIRST = {
    "proc/self/cgroup": "7:cpu,memory:/docker/abc\n3:pids:/docker/abc\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{1 * GIB}\n",
}
UNLIMITED = FIRST | {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}


@pytest.mark.parametrize(
    ("files", "available", "where"),
    [
        (HOST, 8 * GIB, "the host"),
        (HOST | SECOND, 524 * MIB, "sys/fs/cgroup/ci (limit 1.0 GiB)"),
        (HOST | FIRST, 1 * GIB, "sys/fs/cgroup/memory (limit 2.0 GiB)"),
        (HOST | UNLIMITED, 8 * GIB, "the host"),
        ({}, None, "the host"),
    ],
    ids=[
        "host",
        "version 2, of the parent",
        "version 1, seen from a container",
        "no limit",
        "not told",
    ],
)
def test_the_tightest_of_host_and_cgroups_counts(
    tmp_path: Path, files: dict[str, str], available: int | None, where: str
) -> None:
    """Every cgroup's limit counts, less what it uses without page cache that can be dropped."""
    found, told = host.available_memory(write(tmp_path, files))
    assert (available, True) == (found, told.endswith(where))


def test_budget_beyond_the_cgroup_is_the_machines_trouble(tmp_path: Path) -> None:
    """The error about a budget beyond the cgroup's memory has both sizes and the cgroup."""
    root = write(tmp_path, HOST | SECOND)
    with pytest.raises(MachineError) as raised:
        host.check_memory(CpuDevice(300 * MIB), root)
    assert (
        "the host is short of memory: a probe takes the budget of 300.0 MiB, and about 256.0 MiB "
        f"for Python and torch; the cgroup {root}/sys/fs/cgroup/ci (limit 1.0 GiB) has 524.0 MiB "
        "left. Free some, allow the container more, or lower the budget" == str(raised.value)
    )


def test_budget_that_fits_is_let_through(tmp_path: Path) -> None:
    """A budget that fits to the byte raises nothing."""
    root = write(tmp_path, HOST | SECOND)
    device = CpuDevice(268 * MIB)
    assert host.check_memory(device, root) is None  # type: ignore[func-returns-value] # or raises


@pytest.mark.parametrize(("num_workers", "noted"), [(0, False), (4, True)])
def test_little_shared_memory_is_noted_for_loaders_with_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int, *, noted: bool
) -> None:
    """Workers pass batches through shared memory, so a container's default of 64 MiB is noted."""
    monkeypatch.setattr(host, "SMALL_SHARED_BYTES", 1 << 60)
    note = host.shared_memory_note(num_workers, tmp_path)
    assert noted == (note is not None and "set num_workers to 0" in note)
