"""Starts a program for a probe, passes its output on, and waits for its end."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.inside.reports import VARIABLE
from harness.errors import WorkloadError
from harness.simulated.environment import inside as inside_of_simulation
from harness.simulated.mark import is_simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

INSIDE = Path(__file__).with_name("inside")
"""The folder whose `sitecustomize` each Python of the program imports when it starts."""

_BATCH_SIZE = "${batch_size}"
_PACKAGE_ROOT = str(Path(__file__).parents[2])
_CHUNK = 1 << 16
# Between two questions whether the program is to be ended.
_PAUSE_MILLISECONDS = 500
# For a launcher that is asked to end its ranks.
_PATIENCE_SECONDS = 5.0
# Enough for the last traceback of a program.
_TAIL_BYTES = 16_384


@dataclass(frozen=True)
class Ended:
    """The end of a program's first process."""

    exit_code: int
    """That of a signal is negative."""
    output: str
    """The last of what was printed."""


def words_at(words: Sequence[str], batch_size: int) -> list[str]:
    """Return the words of a command with a batch size."""
    return [word.replace(_BATCH_SIZE, str(batch_size)) for word in words]


def run(words: Sequence[str], folder: Path, is_over: Callable[[], bool] | None = None) -> Ended:
    """Run a program to its end, in a session of its own, and print what it prints.

    folder: where its processes leave their reports.
    is_over: asked from time to time whether the program is to be ended.

    Processes that it leaves behind are killed by whoever supervises this probe. Raises
    WorkloadError where it cannot be started.
    """
    environment = _environment(folder)
    program = shutil.which(words[0], path=environment.get("PATH"))
    if program is None:
        raise WorkloadError(_not_found(words[0]))
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            list(words),
            executable=program,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise WorkloadError(
            f"{program}: cannot be started ({error.strerror or error}): make it a program that "
            "runs by itself, or put its interpreter before it"
        ) from error
    finally:
        os.close(writer)
    return Ended(*_listen(process, reader, is_over))


def _listen(
    process: subprocess.Popen[bytes], reader: int, is_over: Callable[[], bool] | None
) -> tuple[int, str]:
    """Pass on what a program prints until it ends; return its exit code and the last output."""
    tail: deque[bytes] = deque()
    os.set_blocking(reader, False)
    ended = os.pidfd_open(process.pid)
    watched = select.poll()
    watched.register(reader, select.POLLIN)
    watched.register(ended, select.POLLIN)
    pause = None if is_over is None else _PAUSE_MILLISECONDS
    while ended not in (seen := {descriptor for descriptor, _ in watched.poll(pause)}):
        if reader in seen and not _pass_on(reader, tail):
            watched.unregister(reader)  # closed by all, and the program lives on
        if is_over is not None and is_over():
            _end(process)
            is_over = None
    # What a process that it leaves behind may still print is nobody's.
    for _ in range(_TAIL_BYTES):
        if not _pass_on(reader, tail):
            break
    os.close(reader)
    os.close(ended)
    return process.wait(), b"".join(tail)[-_TAIL_BYTES:].decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program; by SIGTERM, so that a launcher ends its ranks, and else by SIGKILL."""
    process.terminate()
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _pass_on(reader: int, tail: deque[bytes]) -> bool:
    """Print what there is; return whether there may be more."""
    try:
        chunk = os.read(reader, _CHUNK)
    except BlockingIOError:
        return False
    view = memoryview(chunk)
    with suppress(OSError):
        while view:
            view = view[os.write(1, view) :]
    tail.append(chunk)
    while sum(map(len, tail)) - len(tail[0]) >= _TAIL_BYTES:
        tail.popleft()
    return bool(chunk)


def _environment(folder: Path) -> dict[str, str]:
    """Return this process's variables as the user has them, and those that let `inside` in."""
    mine = dict(os.environ)
    # The zygote finds this package by the first of these; the program has its own packages.
    path = [one for one in mine.get("PYTHONPATH", "").split(os.pathsep) if one]
    if path[:1] == [_PACKAGE_ROOT]:
        path = path[1:]
    mine["PYTHONPATH"] = os.pathsep.join([str(INSIDE), *path])
    mine[VARIABLE] = str(folder)
    return mine | (_of_simulation(mine) if is_simulated() else {})


def _of_simulation(mine: Mapping[str, str]) -> dict[str, str]:
    del mine
    return inside_of_simulation()


def _not_found(name: str) -> str:
    if os.sep in name:
        return f"{name}: no such program: give its path from {Path.cwd()}, where commands run"
    hint = ""
    if name.startswith("python"):
        hint = f", or name the Python of this run, {sys.executable}"
    return (
        f"{name}: no such program on PATH: run pytest where `{name}` is found, such as in its "
        f"virtual environment{hint}"
    )
