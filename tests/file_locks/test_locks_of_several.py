"""Locks of several files at once: all or none, and small cases do not keep a large one waiting."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from harness.file_locks import LockTimeoutError, lock_first, lock_several, try_lock

if TYPE_CHECKING:
    from pathlib import Path


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


def test_small_cases_do_not_keep_a_large_one_waiting(files: list[Path], turn: Path) -> None:
    """While it waits for the last of its GPUs, nobody else gets one."""
    other = try_lock(files[0])
    assert other is not None
    found: list[int] = []
    waits = threading.Thread(
        target=lambda: found.append(len(lock_several(files, 3, "GPUs", turn=turn, seconds=30)))
    )
    waits.start()
    while (mine := try_lock(turn)) is not None:  # until the large case has it
        mine.release()
    with pytest.raises(LockTimeoutError, match="GPU"):
        lock_first(files[1:], "GPU", seconds=0, turn=turn)
    other.release()
    waits.join()
    assert [3] == found


def test_two_large_cases_never_wait_for_each_other(files: list[Path], turn: Path) -> None:
    """Each takes all of its GPUs some times, whatever order it sees them in."""
    taken = []

    def take(paths: list[Path]) -> None:
        for _ in range(5):
            held = lock_several(paths, 2, "GPUs", turn=turn, seconds=30)
            taken.append(len(held))
            for one in held:
                one.release()

    threads = [threading.Thread(target=take, args=(paths,)) for paths in (files, files[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 10 * [2] == taken
