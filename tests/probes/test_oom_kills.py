"""The kernel's counts of out-of-memory kills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.probes.oom_kills import count

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = "low 0\nhigh 0\nmax 12\noom 2\noom_kill {kills}\noom_group_kill 5\n"


def test_host_and_cgroup_are_added(tmp_path: Path) -> None:
    """Only the line `oom_kill` of both files is counted, and no line that begins like it."""
    vmstat, events = tmp_path / "vmstat", tmp_path / "memory.events"
    vmstat.write_text("nr_free_pages 100\noom_kill 3\npgfault 7\n", encoding="ascii")
    events.write_text(EVENTS.format(kills=4), encoding="ascii")
    assert 7 == count(vmstat, events)


def test_one_file_is_enough(tmp_path: Path) -> None:
    """Without the cgroup's file, the host's count is returned alone."""
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("oom_kill 3\n", encoding="ascii")
    assert 3 == count(vmstat, tmp_path / "missing")


def test_unknown_is_not_zero(tmp_path: Path) -> None:
    """Without both files, and without such a line in them, the count is None."""
    old = tmp_path / "vmstat"
    old.write_text("nr_free_pages 100\n", encoding="ascii")
    assert count(tmp_path / "missing", tmp_path / "missing") is None
    assert count(old, tmp_path / "missing") is None
