"""The block on a terminal, by the screen that a person sees."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pyte
import pytest

from harness.progress.block import Block
from harness.progress.display import LINE_SECONDS, Progress, logger
from harness.progress.events import Event, tell, working_on

if TYPE_CHECKING:
    from collections.abc import Iterator

DOTS = "tests/test_profiles.py ."


class Screen(io.StringIO):
    """A stream that leads to a screen of a terminal, of which the block asks no size."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.screen = pyte.Screen(columns, 12)
        self._stream = pyte.Stream(self.screen)
        self.screen.set_mode(pyte.modes.LNM)

    def write(self, text: str) -> int:
        """Bring text to the screen."""
        self._stream.feed(text)
        return len(text)

    @property
    def lines(self) -> list[str]:
        """The lines that have text, and the cursor's place."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column."""
        return self.screen.cursor.y, self.screen.cursor.x


class Lines:
    """Lines of a log, in a list."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def settle(self) -> None:
        """Do nothing."""

    def line(self, text: str) -> None:
        """Write a line."""
        self.written.append(text)

    line_from_elsewhere = line


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@pytest.fixture
def columns() -> int:
    """Return the columns of the terminal."""
    return 100


@pytest.fixture
def screen(columns: int, monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Make a terminal on which pytest has begun a line of results."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    made = Screen(100)
    made.write(DOTS)
    return made


@pytest.fixture
def clock() -> Clock:
    """Make a clock at 0 s."""
    return Clock()


@pytest.fixture
def progress(screen: Screen, clock: Clock) -> Iterator[Progress]:
    """Show progress on the screen, of a run of one case."""
    block = Block(screen, color=False, column=lambda: len(DOTS))
    with Progress(Lines(), block, style="block", clock=clock) as made:
        made.state.total = 1
        yield made


def search() -> None:
    """Tell of a search that has tried two sizes."""
    tell(Event("net", "begin"))
    tell(Event("net", "phase", "search"))
    tell(Event("net", "probe", "batch 8 fits, peak 1.0 MiB", batch_size=8, fits=True))
    tell(Event("net", "probe", "batch 16 out of memory in backward", batch_size=16))


def test_block_stands_below_the_results_and_goes(screen: Screen, progress: Progress) -> None:
    """It shows case, phase, bracket, time and the last probe; the results stay as they were."""
    search()
    assert [
        DOTS,
        "net  search: 8 fits, 16 does not  0:00",
        "  batch 16 out of memory in backward",
    ] == screen.lines
    tell(Event("net", "end"))
    assert ([DOTS], (0, len(DOTS))) == (screen.lines, screen.cursor)
    assert progress.state.done.keys() == {"net"}


def test_time_passes(screen: Screen, progress: Progress, clock: Clock) -> None:
    """The clock goes on although nothing happens."""
    tell(Event("net", "begin"))
    clock.now = 61.0
    progress.tick()
    assert [DOTS, "net  1:01"] == screen.lines


@pytest.mark.parametrize("columns", [40])
def test_narrow_terminal_has_a_line_for_each_part(screen: Screen, progress: Progress) -> None:
    """Each is cut to the columns, and none wraps."""
    progress.state.total = 3
    search()
    tell(Event("net", "said", "x" * 60))
    assert [
        DOTS,
        "case 1 of 3: net",
        "  search: 8 fits, 16 does not",
        "  0:00",
        f"  {'x' * 37}…",
    ] == screen.lines


def test_narrower_window_leaves_nothing_behind(
    screen: Screen, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window that becomes narrower wraps what was drawn, and all of it is replaced."""
    search()
    first = "net  search: 8 fits, 16 does not  0:00"
    monkeypatch.setenv("COLUMNS", "30")
    # As terminals that wrap show it: the cursor stays behind the last text.
    screen.screen.reset()
    screen.screen.set_mode(pyte.modes.LNM)
    wrapped = [first[:30], first[30:], "  batch 16 out of memory in ba", "ckward"]
    screen.write("\n".join([DOTS, *wrapped]))
    progress.tick()
    assert [
        DOTS,
        "net",
        "  search: 8 fits, 16 does not",
        "  0:00",
        "  batch 16 out of memory in b…",
    ] == screen.lines
    tell(Event("net", "end"))
    assert ([DOTS], (0, len(DOTS))) == (screen.lines, screen.cursor)


def test_cursor_is_never_hidden(screen: Screen, progress: Progress) -> None:
    """A process that is killed while it draws leaves a terminal that can be used."""
    search()
    assert not screen.screen.cursor.hidden
    assert progress.state.running


def test_log_is_the_last_line_of_the_block(screen: Screen, progress: Progress) -> None:
    """What is logged, a wait as well, needs no line of its own on a terminal."""
    tell(Event("net", "begin"))
    logger.warning("net: NVIDIA H200 is busy; waiting up to 60 s")
    assert [DOTS, "net  0:00", "  NVIDIA H200 is busy; waiting up to 60 s"] == screen.lines
    assert progress.state.running["net"].said


def test_verbose_log_stands_above_the_block(screen: Screen) -> None:
    """Each record is a line that stays."""
    block = Block(screen, color=False, column=lambda: len(DOTS))
    with Progress(Lines(), block, style="block", verbose=True):
        tell(Event("net", "begin"))
        logger.info("net: batch 8 fits")
        assert [DOTS, "net: batch 8 fits", "net  0:00"] == screen.lines
        tell(Event("net", "end"))
    assert ([DOTS, "net: batch 8 fits"], (2, 0)) == (screen.lines, screen.cursor)


def test_others_write_in_between(screen: Screen, progress: Progress) -> None:
    """Pytest's reporter writes where it was, and the block follows it."""
    tell(Event("net", "begin"))
    with progress.out_of_the_way():
        screen.write("F")
    assert [f"{DOTS}F", "net  0:00"] == screen.lines


def test_log_gets_a_line_now_and_then(clock: Clock) -> None:
    """A case that lasts is told in a CI log: not each probe, and without carriage returns."""
    lines = Lines()
    with Progress(lines, style="lines", clock=clock) as progress:
        search()
        for clock.now in (1.0, LINE_SECONDS, LINE_SECONDS + 1, 2 * LINE_SECONDS):
            progress.tick()
        tell(Event("net", "end"))
    assert [
        "gpu-profile: net, search: 8 fits, 16 does not, 1:00",
        "gpu-profile: net, search: 8 fits, 16 does not, 2:00",
    ] == lines.written


@pytest.mark.parametrize("style", ["lines", "none"])
def test_warnings_are_lines_of_a_log(style: str) -> None:
    """A CI log says what a run waits for; other records are shown if verbose alone."""
    lines = Lines()
    with Progress(lines, style=style):  # type: ignore[arg-type] # both are styles
        assert logging.NOTSET == logger.level
        logger.warning("waiting up to 60 s")
        logger.info("batch 8 fits")
    assert ["waiting up to 60 s"] == lines.written


def test_level_that_someone_set_is_kept() -> None:
    """A level that someone has set stays, and hides what is below it; another is restored."""
    lines = Lines()
    logger.setLevel(logging.WARNING)
    try:
        with Progress(lines, style="lines", verbose=True):
            logger.info("batch 8 fits")
        assert (logging.WARNING, []) == (logger.level, lines.written)
    finally:
        logger.setLevel(logging.NOTSET)
    with Progress(lines, style="lines", verbose=True):
        logger.info("batch 8 fits")
        assert logging.INFO == logger.level
    assert (logging.NOTSET, ["batch 8 fits"]) == (logger.level, lines.written)


def test_a_closed_terminal_does_not_end_the_run(screen: Screen, progress: Progress) -> None:
    """If the terminal is gone, only the progress is lost."""
    tell(Event("net", "begin"))
    screen.close()
    screen.write = open  # type: ignore[assignment, method-assign] # it raises OSError for a text
    tell(Event("net", "phase", "search"))
    assert "search" == progress.state.running["net"].phase


def test_verb_works_on_what_tells_first(screen: Screen) -> None:
    """A verb need not begin its cases; where one runs tells it from others of its name."""
    screen.write("\n")
    block = Block(screen, color=False, column=lambda: 0)
    with Progress(Lines(), block, style="block", anybody=True, clock=Clock()) as progress:
        progress.state.total = 2
        tell(Event("net", "phase", "search"))
        assert "case 1 of 2: net  search  0:00" == screen.lines[-1]
        with working_on("net", "on H100"):
            assert "case 2 of 2: net on H100  0:00" == screen.lines[-1]
        assert {} == progress.state.running
