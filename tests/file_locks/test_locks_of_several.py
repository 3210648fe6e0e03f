"""Locks of several files at once: all or none, and small cases do not keep a large one waiting."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from harness.file_locks import (
    LockTimeoutError,
    is_locked,
    lock_first,
    lock_several,
    try_lock,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.file_locks import HeldLock


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return the lock files of three GPUs."""
    return [tmp_path / f"gpu-{name}.lock" for name in "abc"]


@pytest.fixture
def turn(tmp_path: Path) -> Path:
    """Return the lock file of the turn."""
    return tmp_path / "turn.lock"


def test_all_are_locked_and_the_turn_is_given_back(files: list[Path], turn: Path) -> None:
    """Whoever comes next finds the files taken, and may wait in turn."""
    held = lock_several(files, 2, "GPUs", turn=turn, seconds=0)
    assert files[:2] == [one.path for one in held]
    taken = [try_lock(path) for path in (*files, turn)]
    assert [False, False, True, True] == [one is not None for one in taken]


def test_none_is_kept_where_not_all_are_free(files: list[Path], turn: Path) -> None:
    """A wait that ends gives back what it had, and the turn."""
    other = try_lock(files[1])
    assert other is not None
    with pytest.raises(LockTimeoutError, match="GPUs: process"):
        lock_several(files, 3, "GPUs", turn=turn, seconds=0.1)
    free = [try_lock(path) for path in (files[0], files[2], turn)]
    assert all(free)


def turn_of(path: Path) -> Path:
    """Return the lock file of a lock's turn."""
    return path.with_suffix(".turn")


def waiting_in_turn(call: Callable[[], object], turns: Sequence[Path]) -> threading.Thread:
    """Start a call in a thread, and return once it waits with all these turns."""
    waits = threading.Thread(target=call)
    waits.start()
    for turn in turns:
        while not is_locked(turn):
            pass
    return waits


def test_small_cases_do_not_keep_a_large_one_waiting(files: list[Path], turn: Path) -> None:
    """While it waits for the last of its GPUs, nobody else gets one."""
    other = try_lock(files[0])
    assert other is not None
    found: list[int] = []

    def lock_three() -> None:
        found.append(len(lock_several(files, 3, "GPUs", turn=turn, turn_of=turn_of, seconds=30)))

    waits = waiting_in_turn(lock_three, [turn_of(path) for path in files])
    with pytest.raises(LockTimeoutError, match="GPU"):
        lock_first(files[1:], "GPU", seconds=0, turn_of=turn_of)
    other.release()
    waits.join()
    assert [3] == found
    assert [turn_of(path) for path in files if is_locked(turn_of(path))] == []


def test_who_came_later_does_not_pass_one_that_waits(files: list[Path]) -> None:
    """A lock that got free is of the one that waited for it, however small the others are."""
    path = files[0]
    first = try_lock(path, shared=True)
    assert first is not None
    found: list[HeldLock] = []
    waits = waiting_in_turn(
        lambda: found.append(lock_first([path], "whole", seconds=30, turn_of=turn_of)),
        [turn_of(path)],
    )

    def share(one: Path) -> HeldLock | None:
        return try_lock(one, shared=True)

    with pytest.raises(LockTimeoutError, match=r"part: process .* been using it for 0 s"):
        lock_first([path], "part", seconds=0, turn_of=turn_of, attempt=share)
    first.release()
    waits.join()
    assert [path] == [one.path for one in found]


def test_who_waits_for_one_lock_stops_nobody_at_another(files: list[Path]) -> None:
    """Jobs that see other GPUs of one kind do not wait for each other."""
    other = try_lock(files[0])
    assert other is not None
    waits = waiting_in_turn(
        lambda: lock_first(files[:1], "the first", seconds=30, turn_of=turn_of).release(),
        [turn_of(files[0])],
    )
    assert files[1] == lock_first(files, "any", seconds=0, turn_of=turn_of).path
    other.release()
    waits.join()


def test_several_and_single_ones_never_wait_for_each_other(files: list[Path], turn: Path) -> None:
    """Cases of two GPUs, and of one of three, take their GPUs some times each."""
    taken = []

    def take_two(paths: list[Path]) -> None:
        for _ in range(5):
            held = lock_several(paths, 2, "GPUs", turn=turn, turn_of=turn_of, seconds=30)
            taken.append(len(held))
            for one in held:
                one.release()

    def take_one(paths: list[Path]) -> None:
        for _ in range(5):
            lock_first(paths, "GPU", seconds=30, turn_of=turn_of).release()
            taken.append(1)

    calls = [(take_two, files), (take_two, files[::-1]), (take_one, files), (take_one, files[1:])]
    threads = [threading.Thread(target=call, args=(paths,)) for call, paths in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [*(10 * [1]), *(10 * [2])] == sorted(taken)
