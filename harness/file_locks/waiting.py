"""Waits for locks that others hold: for a limited time, and never without a word."""

from __future__ import annotations

import logging
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.file_locks.holders import holders_of, is_held_by_this_run, names_of
from harness.file_locks.locks import try_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from harness.file_locks.locks import HeldLock

_log = logging.getLogger("harness")

WAIT_SECONDS = 3600.0
"""How long to wait for another run's case to end, unless a run says otherwise."""

_SAY_AFTER_SECONDS = 3
# Whoever only looks for a free lock keeps the turn for less.
_LOOK_SECONDS = 0.5
# Waiting processes that asked in step would find the lock taken by one another.
_PAUSES = (0.02, 0.08)


class LockTimeoutError(MachineError):
    """Another process held a lock for too long."""


@contextmanager
def locked(path: Path, what: str, *, seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock of a file or a folder while the block runs; a missing file is made.

    Arguments and errors are those of `lock_first`.
    """
    held = lock_first([path], what, seconds=seconds)
    try:
        yield
    finally:
        held.release()


def lock_first(
    paths: Sequence[Path],
    what: str,
    *,
    seconds: float = WAIT_SECONDS,
    turn: Path | None = None,
    attempt: Callable[[Path], HeldLock | None] = try_lock,
) -> HeldLock:
    """Wait until one of several files or folders is free, and lock it.

    what: names what the lock guards, in the messages: `gpu-profile.lock`, `the folder runs/net`.
    seconds: how long to wait for other holders. After three of them a warning names them. Another
        worker of the same run is waited for as long as it takes: its case ends.
    turn: a file that is locked for each look: `lock_several` keeps it while it waits.
    attempt: takes a lock, or returns None while others are in its way.

    Raises LockTimeoutError, NoLocksError, and OSError where a file cannot be opened.
    """
    waiting = _Waiting(what, seconds)
    while True:
        gate = None if turn is None else try_lock(turn)
        if turn is None or gate is not None:
            try:
                for path in paths:
                    if (held := attempt(path)) is not None:
                        return held
            finally:
                if gate is not None:
                    gate.release()
            waiting.go_on(paths)
        else:
            waiting.go_on([turn], least=_LOOK_SECONDS)


def lock_several(
    paths: Sequence[Path],
    number: int,
    what: str,
    *,
    turn: Path,
    seconds: float = WAIT_SECONDS,
) -> list[HeldLock]:
    """Wait until `number` of the files are free, and lock these: all of them or none.

    turn: a file that is kept locked meanwhile. Whoever holds it keeps what gets free, and everybody
        else waits, so no two wait for each other, and small cases do not keep a large one waiting.

    The other arguments and the errors are those of `lock_first`.
    """
    waiting = _Waiting(what, seconds)
    gate: HeldLock | None = None
    held: list[HeldLock] = []
    try:
        while True:
            gate = gate or try_lock(turn)
            if gate is None:
                waiting.go_on([turn], least=_LOOK_SECONDS)
                continue
            taken = {one.path for one in held}
            for path in paths:
                if path not in taken and (got := try_lock(path)) is not None:
                    held.append(got)
                    if len(held) == number:
                        return held
            waiting.go_on([path for path in paths if all(path != one.path for one in held)])
    except BaseException:
        for one in held:
            one.release()
        raise
    finally:
        if gate is not None:
            gate.release()


class _Waiting:
    """A wait for locks of others: it ends after its seconds, and after three it says so."""

    def __init__(self, what: str, seconds: float) -> None:
        self._what, self._seconds = what, seconds
        self._start = time.monotonic()
        self._said = False

    def go_on(self, paths: Sequence[Path], least: float = 0.0) -> None:
        """Wait a moment for one of the files; raise LockTimeoutError where the time is over.

        least: seconds that are waited in any case.
        """
        what, seconds = self._what, self._seconds
        waited = time.monotonic() - self._start
        if waited >= max(seconds, least) and not all(map(is_held_by_this_run, paths)):
            raise LockTimeoutError(
                f"{what}: {holders_of(paths)} been using it for {seconds:g} s and more: wait for "
                "it or end it"
            )
        if waited >= _SAY_AFTER_SECONDS and not self._said:
            self._said = True
            _log.warning("%s: waiting for %s, up to %g s", what, names_of(paths), seconds)
        time.sleep(random.uniform(*_PAUSES))  # noqa: S311 - no secret
