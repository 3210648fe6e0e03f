"""Waits for locks that others hold: for a limited time, and never without a word."""

from __future__ import annotations

import logging
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.file_locks.holders import holders_of, is_held_by_this_run, names_of
from harness.file_locks.locks import is_locked, try_lock

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
    turn_of: Callable[[Path], Path] | None = None,
    attempt: Callable[[Path], HeldLock | None] = try_lock,
) -> HeldLock:
    """Wait until one of several files or folders is free, and lock it.

    what: names what the lock guards, in the messages: `gpu-profile.lock`, `the folder runs/net`.
    seconds: how long to wait for other holders. After three of them a warning names them. Another
        worker of the same run is waited for as long as it takes: its case ends.
    turn_of: returns the file of a lock's turn. Whoever waits keeps the turns that it has got, and a
        lock is taken by nobody but the holder of its turn. So who needs more room than others is
        not passed by them again and again.
    attempt: takes a lock, or returns None while others are in its way.

    Raises LockTimeoutError, NoLocksError, and OSError where a file cannot be opened.
    """
    waiting = _Waiting(what, seconds)
    turns = _Turns(turn_of)
    try:
        while True:
            for path in paths:
                if turns.has(path) and (held := attempt(path)) is not None:
                    return held
            waiting.go_on(*turns.in_the_way(paths))
    finally:
        turns.give_back()


def lock_several(
    paths: Sequence[Path],
    number: int,
    what: str,
    *,
    turn: Path,
    turn_of: Callable[[Path], Path] | None = None,
    seconds: float = WAIT_SECONDS,
) -> list[HeldLock]:
    """Wait until `number` of the files are free, and lock these: all of them or none.

    turn: a file that is kept locked meanwhile. Whoever holds it keeps what gets free, and others
        that want several wait, so no two wait for each other.

    The other arguments and the errors are those of `lock_first`.
    """
    waiting = _Waiting(what, seconds)
    turns = _Turns(turn_of)
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
                if path not in taken and turns.has(path) and (got := try_lock(path)) is not None:
                    held.append(got)
                    if len(held) == number:
                        return held
            left = [path for path in paths if all(path != one.path for one in held)]
            waiting.go_on(*turns.in_the_way(left))
    except BaseException:
        for one in held:
            one.release()
        raise
    finally:
        turns.give_back()
        if gate is not None:
            gate.release()


class _Turns:
    """The turns of locks that one process has got, and keeps while it waits."""

    def __init__(self, turn_of: Callable[[Path], Path] | None) -> None:
        self._turn_of = turn_of
        self._got: dict[Path, HeldLock] = {}

    def has(self, path: Path) -> bool:
        """Return whether a lock may be tried: nobody else waits for it."""
        if self._turn_of is None or path in self._got:
            return True
        if (turn := try_lock(self._turn_of(path))) is None:
            return False
        self._got[path] = turn
        return True

    def in_the_way(self, paths: Sequence[Path]) -> tuple[Sequence[Path], float]:
        """Return the locks of others that are waited for, and the seconds of the shortest wait.

        A lock itself, or its turn where the lock is free: somebody else waits for it, or looks.
        """
        if self._turn_of is None:
            return paths, 0.0
        others = [
            path if path in self._got or is_locked(path) else self._turn_of(path) for path in paths
        ]
        return others, 0.0 if others == [*paths] else _LOOK_SECONDS

    def give_back(self) -> None:
        """Give all turns back."""
        for turn in self._got.values():
            turn.release()


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
