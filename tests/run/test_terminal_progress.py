"""Live progress: the line for each probe, and the handler that shows it."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from case_results import ERROR, FITS, MIB, OOM

from harness.measurement import Probe
from harness.probes.outcomes import describe_probe
from harness.run.terminal_progress import TerminalProgress, logger

if TYPE_CHECKING:
    from collections.abc import Iterator

CASE = "resnet18-cpu-256MiB-32"
FITS_LINE = f"{CASE}: batch 471 fits, peak 250.1 MiB of 256.0 MiB, 1.2 s"
OOM_LINE = f"{CASE}: batch 472 out of memory in backward, 1.1 s"


def log_probe(case_id: str, probe: Probe, limit_bytes: int) -> None:
    """Log a probe in the way of a search."""
    logger.info("%s: %s", case_id, describe_probe(probe, limit_bytes))


@dataclass
class Screen:
    """One line of a terminal that obeys backspaces, and the lines written above it."""

    line: str = ""
    column: int = 0
    lines: list[str] = field(default_factory=list)
    captured: bool = True

    def write(self, text: str) -> None:
        """Put text at the cursor, over the old text."""
        assert not self.captured
        for character in text:
            if character == "\b":
                self.column -= 1
            else:
                self.line = self.line[: self.column] + character + self.line[self.column + 1 :]
                self.column += 1

    def write_line(self, text: str) -> None:
        """Write a line of its own."""
        assert not self.captured
        self.lines.append(text)

    @contextmanager
    def suspend_capture(self) -> Iterator[None]:
        """Let output through for a while."""
        self.captured = False
        yield
        self.captured = True

    def progress(
        self, *, verbose: bool = False, tty: bool = True, width: int = 200
    ) -> TerminalProgress:
        """Make the handler that shows progress here."""
        return TerminalProgress(
            write=self.write,
            write_line=self.write_line,
            room=lambda: width - self.column,
            suspend_capture=self.suspend_capture,
            verbose=verbose,
            tty=tty,
        )


@pytest.fixture
def screen() -> Screen:
    """Make a terminal on which pytest has begun a line of results."""
    started = "tests/test_profiles.py ."
    return Screen(started, len(started))


@pytest.mark.parametrize(
    ("probe", "limit", "expected"),
    [
        (FITS, 256 * MIB, "batch 471 fits, peak 250.1 MiB of 256.0 MiB, 1.2 s"),
        (FITS, None, "batch 471 fits, peak 250.1 MiB, 1.2 s"),
        (replace(FITS, peak_memory_bytes=None), 256 * MIB, "batch 471 fits, 1.2 s"),
        (
            replace(FITS, kind="validation"),
            256 * MIB,
            "validation batch 471 fits, peak 250.1 MiB of 256.0 MiB, 1.2 s",
        ),
        (OOM, 256 * MIB, "batch 472 out of memory in backward, 1.1 s"),
        (replace(OOM, phase=None, detail=None), 256 * MIB, "batch 472 out of memory, 1.1 s"),
        (
            replace(ERROR, detail="killed by SIGSEGV\nmore"),
            None,
            "batch 1 failed in forward: killed by SIGSEGV, 0.9 s",
        ),
        (replace(ERROR, detail=None, phase=None), None, "batch 1 failed, 0.9 s"),
        (
            Probe(1798, "dataset", phase="data", seconds=0.4),
            None,
            "batch 1798 is more than the data holds, 0.4 s",
        ),
    ],
)
def test_one_line_per_probe(probe: Probe, limit: int | None, expected: str) -> None:
    """A probe is described in one line: batch, outcome, phase, reason, seconds."""
    assert expected == describe_probe(probe, limit)


def test_probes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A probe is one record of the logger `harness` at level INFO."""
    caplog.set_level(logging.INFO)
    log_probe(CASE, FITS, 256 * MIB)
    assert caplog.record_tuples == [("harness", logging.INFO, FITS_LINE)]


def test_verbose_writes_lines(screen: Screen) -> None:
    """If verbose, each probe is a line of its own."""
    with screen.progress(verbose=True):
        log_probe(CASE, FITS, 256 * MIB)
        log_probe(CASE, OOM, 256 * MIB)
    assert screen.lines == [FITS_LINE, OOM_LINE]


def test_status_follows_the_results(screen: Screen) -> None:
    """On a terminal the last probe follows pytest's results, and the cursor stays where it was."""
    with screen.progress():
        log_probe(CASE, FITS, 256 * MIB)
        log_probe(CASE, OOM, 256 * MIB)
        shown, column = screen.line.rstrip(), screen.column
    assert (f"tests/test_profiles.py . {OOM_LINE}", 24) == (shown, column)
    assert screen.lines == []


def test_status_is_erased(screen: Screen) -> None:
    """The end of the progress erases the status."""
    with screen.progress():
        log_probe(CASE, FITS, 256 * MIB)
    assert (screen.line.rstrip(), screen.column) == ("tests/test_profiles.py .", 24)


def test_status_is_erased_between_cases(screen: Screen) -> None:
    """`clear` makes room for a result; the next status follows the result."""
    with screen.progress() as progress:
        log_probe(CASE, FITS, 256 * MIB)
        progress.clear()
        with screen.suspend_capture():
            screen.write("F")
        after_result = screen.line.rstrip()
        log_probe(CASE, OOM, 256 * MIB)
        assert f"tests/test_profiles.py .F {OOM_LINE}" == screen.line.rstrip()
    assert after_result == "tests/test_profiles.py .F"


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (len(OOM_LINE) + 2, f" {OOM_LINE}"),
        (len(OOM_LINE) + 1, f" {OOM_LINE[:-4]}..."),
        (21, " resnet18-cpu-256..."),
        (20, ""),
        (-3, ""),
    ],
)
def test_status_is_cut_to_the_room(screen: Screen, room: int, expected: str) -> None:
    """A status never reaches the last column, and is not shown with too little room."""
    with screen.progress(width=24 + room):
        log_probe(CASE, OOM, 256 * MIB)
        shown = screen.line.rstrip()
    assert f"tests/test_profiles.py .{expected}" == shown


def test_status_is_one_line(screen: Screen) -> None:
    """The status is the first line of a record."""
    with screen.progress():
        logger.info("first\nsecond")
        assert screen.line.rstrip() == "tests/test_profiles.py . first"
        logger.info("")
        assert screen.line.rstrip() == "tests/test_profiles.py ."


def test_neither_verbose_nor_a_terminal(screen: Screen) -> None:
    """In a pipe no probe is shown, and the logger's level stays the same."""
    with screen.progress(tty=False):
        assert logger.level == logging.NOTSET
        log_probe(CASE, FITS, 256 * MIB)
    assert (screen.line, screen.lines) == ("tests/test_profiles.py .", [])


def test_wait_is_a_line_in_a_pipe(screen: Screen) -> None:
    """A CI log says what a run waits for, which it logs as a warning."""
    with screen.progress(tty=False):
        logger.warning("NVIDIA H200 is busy; waiting up to 60 s")
    assert ["NVIDIA H200 is busy; waiting up to 60 s"] == screen.lines


def test_wait_is_the_status_of_a_terminal(screen: Screen) -> None:
    """There it is erased when it is over."""
    with screen.progress():
        logger.warning("NVIDIA H200 is busy; waiting up to 60 s")
        shown = screen.line.rstrip()
    assert ("tests/test_profiles.py . NVIDIA H200 is busy; waiting up to 60 s", []) == (
        shown,
        screen.lines,
    )


def test_level_is_restored(screen: Screen) -> None:
    """The logger's level is INFO while progress is shown, and the former level afterwards."""
    with screen.progress() as progress:
        during = logger.level
        assert progress in logger.handlers
    assert (during, logger.level, logger.handlers) == (logging.INFO, logging.NOTSET, [])


def test_level_that_someone_set_is_kept(screen: Screen) -> None:
    """A level that someone has set stays, and hides the progress."""
    logger.setLevel(logging.WARNING)
    try:
        with screen.progress(verbose=True):
            log_probe(CASE, FITS, 256 * MIB)
        assert logger.level == logging.WARNING
    finally:
        logger.setLevel(logging.NOTSET)
    assert screen.lines == []


def test_debug_records_are_not_progress(screen: Screen) -> None:
    """Records below INFO are not shown."""
    with screen.progress(verbose=True):
        logger.debug("detail")
    assert screen.lines == []


def test_a_closed_terminal_does_not_end_the_run(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the terminal fails, only the progress is lost."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    progress = screen.progress(verbose=True)
    monkeypatch.setattr(progress, "_write_line", open)
    with progress:
        log_probe("no such file", FITS, 256 * MIB)
    assert screen.lines == []
