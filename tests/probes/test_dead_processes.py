"""A probe that died without a result is explained by its exit and its last output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.probes import oom_kills
from harness.probes.dead_processes import Ending, explain_death, killed_for_memory

if TYPE_CHECKING:
    from pathlib import Path

KILLED = Ending(-9)


@pytest.mark.parametrize(
    ("ending", "output", "expected"),
    [
        (
            Ending(-6),
            "terminate called ... what(): std::bad_alloc",
            ("oom", "was killed by SIGABRT"),
        ),
        (Ending(1), "MemoryError", ("oom", "exited with code 1")),
        (KILLED, "MemoryError", ("error", "was killed by SIGKILL")),
        (Ending(-11), "Segmentation fault", ("error", "was killed by SIGSEGV")),
        (Ending(-9, timed_out=600.0), "", ("error", "timed out after 600 s")),
    ],
)
def test_last_words_tell_memory_from_other_ends(
    tmp_path: Path, ending: Ending, output: str, expected: tuple[str, str]
) -> None:
    """A failed allocation counts as out of memory, unless somebody else ended the process."""
    log = tmp_path / "001-train-b8.log"
    log.write_text(output, encoding="utf-8")
    failure = explain_death(ending, str(log))
    assert expected == (failure["outcome"], failure["detail"])


def test_full_shared_memory_is_the_machines_trouble(tmp_path: Path) -> None:
    """A worker that cannot hand over its batch says nothing about the batch size."""
    log = tmp_path / "log"
    log.write_text("RuntimeError: unable to allocate shared memory(shm)", encoding="utf-8")
    failure = explain_death(Ending(1), str(log))
    assert "machine" == failure["outcome"]
    assert failure["detail"].endswith("it exited with code 1")


def test_missing_log_is_no_trouble(tmp_path: Path) -> None:
    """A probe may die before it opens its log."""
    assert "error" == explain_death(Ending(1), str(tmp_path / "none"))["outcome"]


@pytest.mark.parametrize(
    ("ending", "counts", "expected"),
    [
        (KILLED, (3, 4), "Free memory and run again: was killed by SIGKILL"),
        (
            Ending(1, result={"outcome": "error", "detail": "a worker died", "traceback": None}),
            (3, 4),
            "Free memory and run again: a worker died",
        ),
        (KILLED, (3, 3), None),
        (KILLED, (None, 4), None),
        (Ending(-9, timed_out=5.0), (3, 4), None),
        (Ending(1), (3, 4), None),
    ],
)
def test_kernels_kill_is_told_from_others(
    monkeypatch: pytest.MonkeyPatch,
    ending: Ending,
    counts: tuple[int | None, int],
    expected: str | None,
) -> None:
    """The kernel killed for memory when its count rose, and the probe or its worker was killed."""
    before, now = counts
    monkeypatch.setattr(oom_kills, "count", lambda: now)
    trouble = killed_for_memory(ending, before)
    assert (trouble is None) == (expected is None)
    assert (trouble or "").endswith(expected or "")
