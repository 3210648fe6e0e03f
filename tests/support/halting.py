"""Halts a run in the phase that the environment names.

Tests copy it into a user's project; it imports no torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def halt(phase: str) -> None:
    """Report to the test that the phase is reached, then wait until the test releases the run."""
    if os.environ.get("HALT_IN") == phase:
        Path(os.environ["HALT_REACHED"]).write_text(f"{os.getpid()}\n", encoding="ascii")  # a FIFO
        # A FIFO too: opening it blocks until the test writes.
        Path(os.environ["HALT_RELEASED"]).read_bytes()


def halt_at_files() -> None:
    """Halt around fsync and rename, two system calls that a power failure must not separate."""
    fsync, replace = os.fsync, os.replace

    def halting_fsync(descriptor: int) -> None:
        # Temporary files are named `.NAME.random.tmp`.
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name.removeprefix(".")
        halt(f"syncing {name.rsplit('.', 2)[0]}")
        fsync(descriptor)

    def halting_replace(source: Any, target: Any) -> None:
        halt(f"before replacing {Path(target).name}")
        replace(source, target)
        halt(f"after replacing {Path(target).name}")

    os.fsync = halting_fsync  # type: ignore[assignment] # everybody here has a descriptor
    os.replace = halting_replace  # type: ignore[assignment] # nobody here has folder descriptors
