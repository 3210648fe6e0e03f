"""Ctrl-C, SIGTERM and SIGKILL of pytest while it collects and measures: nothing is left, and the lock is as it was.

The choice runs each code path once; `-m slow` runs every signal in every phase.
"""

from __future__ import annotations

from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import TYPE_CHECKING

import pytest
from interrupting import HaltingRun, make_halting

if TYPE_CHECKING:
    from support import Project

OLD_LOCK = b"# as it was\nversion = 1\n"
CODES = {SIGINT: 2, SIGTERM: 143, SIGKILL: -9}
PHASES = ["collect", "build", "describe", "train", "validation", "sweep"]
# Ctrl-C reaches the whole group of the terminal, `kill -INT` pytest alone.
WAYS = [(SIGINT, True), (SIGINT, False), (SIGTERM, False), (SIGTERM, True), (SIGKILL, False)]


def name(value: object) -> str:
    """Name a parameter in a test's id."""
    if isinstance(value, bool):
        return "group" if value else "alone"
    return value.name if isinstance(value, Signals) else str(value)


def interrupt(project: Project, phase: str, number: Signals, *arguments: str, group: bool) -> str:
    """Interrupt a run in a phase, see that nothing is left of it, and return what it printed."""
    make_halting(project)
    project.lock.write_bytes(OLD_LOCK)
    with HaltingRun(project, phase, *arguments) as run:
        run.wait_until_halted()
        code = run.end(number, group=group)
        left = (run.survivors(), run.leftovers())
        assert (CODES[number], ([], []), OLD_LOCK) == (code, left, project.lock.read_bytes()), run.output
        return run.output


@pytest.mark.parametrize(
    ("phase", "number", "group"),
    [
        ("collect", SIGINT, True),
        ("collect", SIGTERM, False),
        ("build", SIGTERM, False),
        ("build", SIGKILL, False),
        ("describe", SIGINT, True),
        ("validation", SIGTERM, True),
        ("sweep", SIGINT, False),
        ("sweep", SIGKILL, False),
    ],
    ids=name,
)
def test_interrupted_run_leaves_nothing_behind(
    project: Project, phase: str, number: Signals, group: bool
) -> None:
    """No process, no temporary file; the lock is not touched, and the exit code says how the run ended."""
    interrupt(project, phase, number, group=group)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(name, way)))
@pytest.mark.parametrize("phase", PHASES)
def test_every_interruption_leaves_nothing_behind(
    project: Project, phase: str, way: tuple[Signals, bool], workers: tuple[str, ...]
) -> None:
    """The same for every signal in every phase."""
    number, group = way
    interrupt(project, phase, number, *workers, group=group)


@pytest.mark.parametrize(
    ("number", "group"),
    [
        (SIGINT, True),
        pytest.param(
            SIGTERM, False, marks=pytest.mark.slow
        ),  # the fate of a worker's zygote is that of SIGKILL's
        (SIGKILL, False),
    ],
    ids=name,
)
def test_interrupted_workers_leave_nothing_behind(project: Project, number: Signals, group: bool) -> None:
    """With xdist too: its workers, and what they started, end with the controller."""
    interrupt(project, "train", number, "-n2", group=group)


def test_interrupted_run_claims_no_cause_why_nothing_was_measured(project: Project) -> None:
    """After Ctrl-C the summary gives no advice about test modules and selections."""
    output = interrupt(project, "collect", SIGINT, group=False)
    assert "KeyboardInterrupt" in output
    assert "nothing was measured" not in output
