"""Ends a program, and removes its files, when the command that runs it is killed.

A process that is killed can clean nothing up. So a fork of it waits at a pipe, whose other end only
the command holds: when that closes without a word, the command is gone. What it has started is
known by the world that its environment names.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.simulating.child import FORWARDED
from harness.simulated.mark import WORLD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.simulated.world import World

_DONE = b"done"
# Launchers end their ranks when they are asked to; who does not end is killed.
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.05


@contextmanager
def guarded(folder: Path, world: World) -> Iterator[None]:
    """Watch over this process.

    If it is killed inside, the processes that were started in the world are ended, and the folder
    is removed. Must be called while this process has one thread.
    """
    here, there = os.pipe()
    if os.fork() == 0:
        os.close(there)
        # Nothing of the command may run on in the fork, whatever happens.
        try:
            _guard(here, folder, world)
        finally:
            os._exit(0)
    os.close(here)
    try:
        yield
    finally:
        # The guardian may have been killed; then there is none.
        with suppress(BrokenPipeError):
            os.write(there, _DONE)
        os.close(there)


def _guard(pipe: int, folder: Path, world: World) -> None:
    for number in FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # so that whoever reads the command's output sees its end
        os.dup2(nothing, stream)
    if os.read(pipe, len(_DONE)):
        return
    _end(world, signal.SIGTERM)
    until = time.monotonic() + _GRACE_SECONDS
    while _started_in(world) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    _end(world, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _end(world: World, number: signal.Signals) -> None:
    for pid in _started_in(world):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _started_in(world: World) -> list[int]:
    """Return the ids of the processes whose environment names a world."""
    named = f"{WORLD}={world.path}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # ended, or another user's
            if named in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
