"""A run that waits for another one says so, also without a terminal, and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from interrupted_runs import CASE, make_halting

from harness import file_locks
from harness.file_locks import locked

if TYPE_CHECKING:
    from projects import Project

WAIT = ("--gpu-profile", "--gpu-profile-wait", "4")


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((), id="terminal"),
        pytest.param(("-n1",), id="worker", marks=pytest.mark.slow),
        pytest.param(("-p", "no:terminal"), id="no terminal"),
    ],
)
def test_wait_for_another_run_is_told_and_ends(project: Project, flags: tuple[str, ...]) -> None:
    """The holder of a case's folder is named in a line, and after the limit in an error."""
    make_halting(project, canned=True)
    folder = project.results / CASE
    folder.mkdir(parents=True)
    with locked(folder / ".lock", "another run"):
        result = project.run(*WAIT, *flags, subprocess=True)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    waiting = f"*{CASE}: waiting for process *, up to 4 s"
    (result.stdout if not flags else result.stderr).fnmatch_lines([waiting])
    report = project.report()[CASE]
    assert "error" == report["status"]
    assert report["reason"].endswith(" has been using it for 4 s and more: wait for it or end it")
    assert file_locks.WAIT_SECONDS == 3600
