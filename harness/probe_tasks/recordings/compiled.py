"""Counts the memory that libraries reserve for kernels that they compile while they run."""

from __future__ import annotations

from pathlib import Path


def compiled_bytes() -> int:
    """Return the bytes of private memory that may be written and executed, by the kernel's maps.

    oneDNN reserves some hundred KiB for each kernel that it compiles, of which it fills a part.
    RLIMIT_DATA bounds, and VmData counts, all that is reserved (man 5 proc).
    """
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    found = 0
    for line in lines:
        span, permissions, _, _, inode, *_ = line.split(maxsplit=5)
        if permissions == "rwxp" and inode == "0":
            start, end = (int(address, 16) for address in span.split("-"))
            found += end - start
    return found
