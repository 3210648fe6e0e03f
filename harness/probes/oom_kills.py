"""Counts the kernel's out-of-memory kills, to tell them from other uses of SIGKILL."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def count(
    vmstat: Path = Path("/proc/vmstat"), events: Path = Path("/sys/fs/cgroup/memory.events")
) -> int | None:
    """Return the kills so far on this host and in this cgroup (v2); None if they are unknown."""
    counts = []
    for path in (vmstat, events):
        with suppress(OSError):
            for line in path.read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    counts.append(int(value))
    return sum(counts) if counts else None
