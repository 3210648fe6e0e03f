"""Signals and power failures while a run writes its files, and runs that write at the same time.

The default tests run each code path once; `-m slow` sends every signal at every step.
"""

from __future__ import annotations

import json
import tomllib
from itertools import product
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import TYPE_CHECKING

import pytest
from interrupted_runs import CASE, HaltingRun, make_halting

if TYPE_CHECKING:
    from projects import Project

OLD_LOCK = b"# as it was\nversion = 1\n"
CODES = {SIGINT: 2, SIGTERM: 143, SIGKILL: -9}
REPORT = ["syncing report.json", "after replacing report.md", "before replacing candidate.lock"]
BEFORE = ["syncing gpu-profile.lock", "before replacing gpu-profile.lock"]
AFTER = ["after replacing gpu-profile.lock"]


@pytest.fixture
def writing(project: Project) -> Project:
    """Make a project whose run takes no time to measure, and then writes."""
    make_halting(project, canned=True)
    project.lock.write_bytes(OLD_LOCK)
    return project


def locked(project: Project) -> list[str]:
    """Return the models in the lockfile."""
    lock = tomllib.loads(project.lock.read_text(encoding="utf-8"))
    return [profile["model"] for profile in lock.get("profile", [])]


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        (REPORT[2], SIGINT),
        (BEFORE[0], SIGTERM),
        *(
            pytest.param(*both, marks=pytest.mark.slow)
            for both in product([*REPORT, *BEFORE], [SIGINT, SIGTERM])
        ),
    ],
    ids=str,
)
def test_interruption_while_writing_ends_in_order(
    writing: Project, phase: str, number: Signals
) -> None:
    """The lockfile stays as it was, no half-written file is left, and pytest ends in order."""
    with HaltingRun(writing, phase, "--junitxml=junit.xml") as run:
        run.wait_until_halted()
        assert CODES[number] == run.end(number)
        assert ([], []) == (run.survivors(), run.leftovers())
        assert "interrupted while writing the results" in run.output
        assert "Traceback" not in run.output
    assert OLD_LOCK == writing.lock.read_bytes()
    assert (writing.path / "junit.xml").exists()  # other plugins finished


@pytest.mark.parametrize("number", [SIGTERM, pytest.param(SIGINT, marks=pytest.mark.slow)], ids=str)
def test_interruption_after_the_replacement_leaves_the_new_lock(
    writing: Project, number: Signals
) -> None:
    """After its replacement the lockfile is whole, and no temporary file is beside it."""
    with HaltingRun(writing, AFTER[0]) as run:
        run.wait_until_halted()
        assert CODES[number] == run.end(number)
        assert ([], []) == (run.survivors(), run.leftovers())
    assert ["net"] == locked(writing)


@pytest.mark.parametrize(
    "phase",
    [
        BEFORE[1],
        *AFTER,
        *(pytest.param(phase, marks=pytest.mark.slow) for phase in [*REPORT, BEFORE[0]]),
    ],
)
def test_power_failure_while_writing_costs_nothing(writing: Project, phase: str) -> None:
    """A run killed at an fsync or rename leaves the old lockfile or the new one.

    The next run is not blocked, and removes the temporary files of the killed one.
    """
    with HaltingRun(writing, phase) as run:
        run.wait_until_halted()
        assert CODES[SIGKILL] == run.end(SIGKILL)
        assert [] == run.survivors()
    assert (["net"] if phase in AFTER else []) == locked(writing)
    if phase not in AFTER:
        assert OLD_LOCK == writing.lock.read_bytes()
    with HaltingRun(writing, "never") as following:
        assert 0 == following.wait(), following.output
        assert [] == following.leftovers()
    assert ["net"] == locked(writing)
    assert "passed" == writing.report()[CASE]["status"]


def test_updates_side_by_side_lose_nothing(writing: Project) -> None:
    """Two runs that write one lockfile at the same time both lock their profiles."""
    writing.write_matrix("Net", "NoValidation")
    with (
        HaltingRun(writing, "syncing gpu-profile.lock", "-k", "net") as first,
        HaltingRun(
            writing, "after replacing candidate.lock", "-k", "novalidation", "--gpu-profile-dir=b"
        ) as second,
    ):
        first.wait_until_halted()  # it has read the lockfile, and holds its folder
        second.wait_until_halted()
        second.release()  # it now waits for the folder
        first.release()
        assert [0, 0] == [first.wait(), second.wait()], first.output + second.output
    assert ["net", "novalidation"] == locked(writing)


def test_runs_in_one_results_folder_leave_whole_files(writing: Project) -> None:
    """Two runs that write one report at the same time leave the whole report of the last one."""
    writing.write_matrix("Net", "NoValidation")
    with (
        HaltingRun(writing, "before replacing report.json", "-k", "net") as first,
        HaltingRun(writing, "never", "-k", "novalidation") as second,
    ):
        first.wait_until_halted()
        first.release()
        assert [0, 0] == [first.wait(), second.wait()], first.output + second.output
        assert [] == first.leftovers()
    report = json.loads((writing.results / "report.json").read_text(encoding="utf-8"))
    assert 1 == len(report["cases"])
    assert {"net-cpu-48MiB-1", "novalidation-cpu-48MiB-1"} <= {
        path.name for path in writing.results.iterdir()
    }


def test_workers_on_one_case_take_turns(writing: Project) -> None:
    """Two workers on one case: neither removes the logs of the other while that one measures."""
    with (writing.path / "test_profiles.py").open("a", encoding="utf-8") as module:
        module.write(
            "\ndef test_again(gpu_profile):\n    assert gpu_profile.measurement.batch_size == 4\n"
        )
    with HaltingRun(writing, "measuring", "-n2", "-v") as run:
        run.wait_until_halted()
        run.release()
        run.wait_until_halted()
        run.release()
        assert 0 == run.wait(), run.output
    assert ["net"] == locked(writing)
