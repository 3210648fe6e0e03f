"""Signals to pytest while it collects and measures: nothing is left, and the lockfile stays.

The default tests send each signal once; `-m slow` sends every signal in every phase.
"""

from __future__ import annotations

from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import TYPE_CHECKING, NamedTuple

import pytest
from interrupted_runs import CASE, HaltingRun, make_halting

from harness.lockfile.profiles import read_lock
from harness.report.markdown import escape

if TYPE_CHECKING:
    from projects import Project
    from warm_zygotes import WarmZygotes

OLD_LOCK = b"# as it was\nversion = 1\n"
CODES = {SIGINT: 2, SIGTERM: 143, SIGKILL: -9}
PHASES = ["collect", "build", "describe", "train", "validation", "sweep"]
# Ctrl-C reaches the whole group of the terminal, `kill -INT` pytest alone.
WAYS = [(SIGINT, True), (SIGINT, False), (SIGTERM, False), (SIGTERM, True), (SIGKILL, False)]


def name(value: object) -> str:
    """Return the name of a parameter for a test's id."""
    if isinstance(value, bool):
        return "group" if value else "alone"
    return value.name if isinstance(value, Signals) else str(value)


class Ended(NamedTuple):
    """The state after a run."""

    code: int
    processes: list[int]
    files: list[str]
    lock: bytes


def in_order(number: Signals) -> Ended:
    """Return the expected state after a signal: nothing is left, and the lockfile is unchanged."""
    return Ended(CODES[number], [], [], OLD_LOCK)


def interrupt(
    project: Project, phase: str, number: Signals, *arguments: str, group: bool
) -> tuple[Ended, str]:
    """Interrupt a run in a phase; return the state after it, and its output."""
    make_halting(project)
    project.lock.write_bytes(OLD_LOCK)
    with HaltingRun(project, phase, *arguments) as run:
        run.wait_until_halted()
        code = run.end(number, group=group)
        return Ended(code, run.survivors(), run.leftovers(), project.lock.read_bytes()), run.output


@pytest.mark.parametrize(
    ("phase", "number", "group"),
    [
        ("collect", SIGINT, True),
        ("collect", SIGTERM, False),
        ("build", SIGKILL, False),
        ("train", SIGINT, False),
        ("validation", SIGTERM, True),
    ],
    ids=name,
)
def test_interrupted_run_leaves_nothing_behind(
    project: Project, phase: str, number: Signals, group: bool
) -> None:
    """A signal leaves no process and no temporary file, and the lockfile stays as it was."""
    ended, output = interrupt(project, phase, number, group=group)
    assert in_order(number) == ended, output


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(name, way)))
@pytest.mark.parametrize("phase", PHASES)
def test_every_interruption_leaves_nothing_behind(
    project: Project, phase: str, way: tuple[Signals, bool], workers: tuple[str, ...]
) -> None:
    """The same holds for every signal in every phase."""
    number, group = way
    ended, output = interrupt(project, phase, number, *workers, group=group)
    assert in_order(number) == ended, output


@pytest.mark.parametrize(
    ("number", "group"),
    [
        (SIGINT, True),
        # A worker's zygote ends in the same way after both.
        pytest.param(SIGTERM, False, marks=pytest.mark.slow),
        pytest.param(SIGKILL, False, marks=pytest.mark.slow),
    ],
    ids=name,
)
def test_interrupted_workers_leave_nothing_behind(
    project: Project, number: Signals, group: bool
) -> None:
    """The workers of xdist, and the processes that they started, end with the controller."""
    ended, output = interrupt(project, "train", number, "-n2", group=group)
    assert in_order(number) == ended, output


def test_interrupted_run_claims_no_cause_why_nothing_was_measured(project: Project) -> None:
    """After Ctrl-C the summary gives no reason why nothing was measured."""
    ended, output = interrupt(project, "collect", SIGINT, group=False)
    assert in_order(SIGINT) == ended, output
    assert "KeyboardInterrupt" in output
    assert "nothing was measured" not in output


@pytest.mark.parametrize(
    ("phase", "number", "workers", "during"),
    [
        ("sweep", SIGINT, (), "the LR range test"),
        pytest.param("sweep", SIGINT, ("-n2",), "the LR range test", marks=pytest.mark.slow),
        pytest.param(
            "validation", SIGTERM, (), "the search for validation", marks=pytest.mark.slow
        ),
    ],
    ids=["sweep", "sweep-n2", "validation"],
)
def test_batch_that_was_found_before_the_interruption_is_kept(
    project: Project,
    phase: str,
    number: Signals,
    workers: tuple[str, ...],
    during: str,
    *,
    warm_zygotes: WarmZygotes,
) -> None:
    """Report and candidate hold it without a learning rate."""
    make_halting(project)
    with HaltingRun(project, phase, *workers, zygotes=warm_zygotes) as run:
        run.wait_until_halted()
        assert CODES[number] == run.end(number, group=bool(workers)), run.output
        assert [] == run.survivors()
    case = project.report()[CASE]
    reason = f"interrupted in {during}; batch 4 was measured: the next run goes on from there"
    assert ("error", reason, 4, None) == (
        case["status"],
        case["reason"],
        case["max_batch_size"],
        case["learning_rate"],
    )
    assert f"{CASE}: {reason}" in run.output
    assert f"`{CASE}`: {escape(reason)}" in (project.results / "report.md").read_text("utf-8")
    (candidate,) = read_lock(project.results / "candidate.lock")
    assert (4, None, None) == (candidate.batch_size, candidate.learning_rate, candidate.lr_refusal)
    assert not project.lock.exists()


@pytest.mark.slow
def test_case_that_was_interrupted_in_its_search_is_listed(project: Project) -> None:
    """Without a batch size the report says so, but it replaces no report of an earlier run."""
    ended, output = interrupt(project, "train", SIGINT, group=False)
    assert in_order(SIGINT) == ended, output
    case = project.report()[CASE]
    reason = "interrupted before a batch size was found: the next run goes on from there"
    assert ("error", reason, None) == (
        case["status"],
        case["reason"],
        case["max_batch_size"],
    )
    assert [] == list(read_lock(project.results / "candidate.lock"))
    (project.results / "report.json").write_text("of a whole run", encoding="utf-8")
    assert in_order(SIGINT) == interrupt(project, "train", SIGINT, group=False)[0]
    assert "of a whole run" == (project.results / "report.json").read_text(encoding="utf-8")
