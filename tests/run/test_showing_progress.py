"""Progress of whole runs, on the screen that a person sees and in the log of a CI system."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from terminal_screen import Terminal

from harness.devices.cpu import CpuDevice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from projects import Project
    from warm_zygotes import WarmZygotes

CASE = "net-cpu-48MiB-1"


@contextmanager
def running(
    project: Project,
    zygotes: WarmZygotes,
    *arguments: str,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Terminal]:
    """Run pytest in a terminal."""
    ours = {**os.environ, **CpuDevice.environment}
    environment = (
        ours | zygotes.variables(ours, project.path / "sessions.txt") | dict(variables or {})
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--gpu-profile"]
    terminal = Terminal([*command, *arguments], project.path, environment)
    try:
        yield terminal
    finally:
        terminal.close()


def block_of(lines: list[str]) -> list[str]:
    """Return the lines of the block, whose clock is not known."""
    start = next(number for number, line in enumerate(lines) if line.startswith("test_profiles.py"))
    return [line.partition("  0:")[0] for line in lines[start:]]


def test_terminal_shows_the_search_below_the_results(
    project: Project, warm_zygotes: WarmZygotes
) -> None:
    """Case, phase, bracket and the last probe stand there while it goes on, and then no more."""
    with running(project, warm_zygotes) as terminal:
        terminal.run_until(lambda lines: any("search: 16 fits" in one for one in lines))
        seen = terminal.run_until(lambda lines: lines[-1].startswith("  batch 16 fits, peak "))
        assert ["test_profiles.py", f"{CASE}  search: 16 fits"] == block_of(seen)[:-1]
        assert 1 == terminal.run_to_the_end()
        assert "\ntest_profiles.py F " in terminal.text
        assert "search: 16 fits" not in terminal.text
        assert not terminal.screen.cursor.hidden


def test_ctrl_c_leaves_a_clean_terminal(project: Project, warm_zygotes: WarmZygotes) -> None:
    """The block goes, the cursor is seen, and pytest's own words follow its results."""
    with running(project, warm_zygotes) as terminal:
        terminal.run_until(lambda lines: any("search: 16 fits" in one for one in lines))
        terminal.press_ctrl_c()
        assert pytest.ExitCode.INTERRUPTED == terminal.run_to_the_end()
        assert "search: 16 fits" not in terminal.text
        assert not terminal.screen.cursor.hidden
        assert "KeyboardInterrupt" in terminal.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(("-q",), {}), ((), {"TERM": "dumb"}), (("-p", "no:terminal"), {})],
    ids=["quiet", "dumb", "no-terminal"],
)
def test_nothing_is_drawn(
    project: Project,
    warm_zygotes: WarmZygotes,
    arguments: tuple[str, ...],
    variables: dict[str, str],
) -> None:
    """Who asks for quiet, or has a terminal that moves no cursor, sees pytest's own output."""
    with running(project, warm_zygotes, *arguments, variables=variables) as terminal:
        assert 1 == terminal.run_to_the_end()
        assert b"building the workload" not in terminal.raw
        assert b"\x1b[A" not in terminal.raw
    assert CASE in project.report()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(("--color=no",), {}), ((), {"NO_COLOR": "1"})],
    ids=["flag", "variable"],
)
def test_block_without_color(
    project: Project,
    warm_zygotes: WarmZygotes,
    arguments: tuple[str, ...],
    variables: dict[str, str],
) -> None:
    """The block is drawn without styles."""
    with running(project, warm_zygotes, *arguments, variables=variables) as terminal:
        terminal.run_until(lambda lines: any("search: 16 fits" in one for one in lines))
        assert b"\x1b[1m" not in terminal.raw
        assert 1 == terminal.run_to_the_end()


@pytest.mark.slow
def test_verbose_lines_stay_above_the_block(project: Project, warm_zygotes: WarmZygotes) -> None:
    """With -v each probe is a line that stays, and pytest's word follows on a line of its own."""
    with running(project, warm_zygotes, "-v") as terminal:
        assert 1 == terminal.run_to_the_end()
        lines = terminal.text.splitlines()
        begun = f"test_profiles.py::test_gpu_profile[{CASE}]"
        after = lines[next(n for n, line in enumerate(lines) if line.startswith(begun)) + 1 :]
        assert f"{CASE}: building the workload" == after[0]
        assert any(line.startswith(f"{CASE}: batch 16 fits") for line in after)
        assert any(line.startswith("FAILED") for line in after)


@pytest.mark.slow
def test_prints_of_others_stay_above_the_block(project: Project, warm_zygotes: WarmZygotes) -> None:
    """Without capture a thread of the user's may print at any time; nothing of it is erased."""
    (project.path / "conftest.py").write_text(
        "import threading\n\n"
        "def pytest_runtest_call(item):\n"
        "    def chat():\n"
        "        for number in range(200):\n"
        "            print(f'chatter {number}', flush=True)\n"
        "            ended.wait(0.01)\n"
        "    ended = threading.Event()\n"
        "    threading.Thread(target=chat, daemon=True).start()\n",
        encoding="utf-8",
    )
    with running(project, warm_zygotes, "-s", "-k", "gpu_profile") as terminal:
        assert 1 == terminal.run_to_the_end()
        # One may come before the case begins, on the line that pytest has begun, or behind the
        # letter of its result.
        chatter = [
            line.removeprefix("test_profiles.py ").removeprefix("F")
            for line in terminal.text.splitlines()
            if "chatter" in line
        ]
        assert [f"chatter {number}" for number in range(len(chatter))] == chatter
        assert len(chatter) > 20


@pytest.mark.slow
def test_workers_have_a_line_each(project: Project, warm_zygotes: WarmZygotes) -> None:
    """The controller draws what xdist's workers tell, and pytest's results are whole."""
    project.write_matrix("Net", "Scheduled")
    with running(project, warm_zygotes, "-n2") as terminal:
        seen = terminal.run_until(lambda lines: sum("of 2: " in one for one in lines) == 2)
        shown = [line.partition("  ")[0].partition(" of 2: ") for line in seen if "of 2: " in line]
        assert {"case 1", "case 2"} == {number for number, _, _ in shown}
        assert {CASE, "scheduled-cpu-48MiB-1"} == {name for _, _, name in shown}
        assert 1 == terminal.run_to_the_end()
        assert "of 2: " not in terminal.text


@pytest.mark.slow
def test_pipe_has_neither_block_nor_carriage_return(
    project: Project, warm_zygotes: WarmZygotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short cases leave a CI log as it is, and nothing loads what would draw."""
    ours = {**os.environ, **CpuDevice.environment}
    for name, value in warm_zygotes.variables(ours, project.path / "sessions.txt").items():
        monkeypatch.setenv(name, value)
    (project.path / "conftest.py").write_text(
        "import sys\n\n"
        "def pytest_terminal_summary(terminalreporter):\n"
        "    terminalreporter.write_line(f'rich: {\"rich\" in sys.modules}')\n",
        encoding="utf-8",
    )
    result = project.run("--gpu-profile", subprocess=True)
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["test_profiles.py F *", "rich: False"])
    assert "\r" not in result.stdout.str()
    assert "\x1b" not in result.stdout.str()
