"""pytest's own flags keep their meaning in a run with `--gpu-profile`."""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ET
from signal import SIGKILL
from typing import TYPE_CHECKING

import canned_measurements as canned
import pytest
from interrupted_runs import HaltingRun, make_halting

import harness.measure.measuring

if TYPE_CHECKING:
    from projects import Project

CASE = "net-cpu-48MiB-1"
UPDATE = ("--gpu-profile", "--gpu-profile-update")


@pytest.fixture
def canned_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make a project with canned measurements: the first and the last of four cases pass."""
    monkeypatch.setattr(harness.measure.measuring, "measure_case", canned.measure_case)
    project.write_matrix("Net", "Raises", "Killed", "NoValidation")
    return project


def locked(project: Project) -> list[str]:
    """Return the models in the lockfile."""
    lock = tomllib.loads(project.lock.read_text(encoding="utf-8"))
    return [profile["model"] for profile in lock["profile"]]


@pytest.mark.parametrize(
    ("flag", "seen"),
    [
        (("-x",), ["net", "raises"]),
        (("--maxfail=2",), ["killed", "net", "raises"]),
        ((), ["killed", "net", "novalidation", "raises"]),
    ],
    ids=["x", "maxfail", "all"],
)
def test_run_that_stops_early_locks_what_it_had_measured(
    canned_project: Project, flag: tuple[str], seen: list[str]
) -> None:
    """-x and --maxfail end the run early; the cases before are in report and lockfile."""
    result = canned_project.run(*UPDATE, *flag)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert seen == [case["model"] for case in canned_project.report().values()]
    assert [model for model in seen if model.startswith("n")] == locked(canned_project)


def test_last_failed_runs_the_failed_cases_alone_or_first(canned_project: Project) -> None:
    """--lf repeats the cases with failures and errors; --ff begins with them."""
    run = canned_project.pytester.runpytest_inprocess
    run("--gpu-profile", "--gpu-profile-update").assert_outcomes(
        passed=2, failed=1, errors=1, deselected=1
    )
    again = run("--gpu-profile", "--lf", "-v")
    again.assert_outcomes(failed=1, errors=1)
    first = run("--gpu-profile", "--ff", "--co", "-q")
    first.stdout.fnmatch_lines(["*raises-cpu*", "*killed-cpu*", "*net-cpu*", "*novalidation-cpu*"])


def test_failures_of_other_tests_select_no_cases(canned_project: Project) -> None:
    """If the last failure was an ordinary test, --lf runs every case and says why, as pytest does.

    The failures that pytest knows are then not among the tests of the run.
    """
    canned_project.write_matrix()
    module = canned_project.path / "test_profiles.py"
    module.write_text(
        module.read_text(encoding="utf-8").replace("pass", "assert False"), encoding="utf-8"
    )
    run = canned_project.pytester.runpytest_inprocess
    run().assert_outcomes(failed=1, deselected=1)
    result = run("--gpu-profile", "--lf")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["run-last-failure: 1 known failures not in selected tests", f"*{CASE}*failed"]
    )


@pytest.mark.parametrize(
    "flags",
    [
        (
            "-p",
            "no:xdist",
            "-p",
            "no:logging",
            "-p",
            "no:junitxml",
            "-p",
            "no:warnings",
            "--import-mode=append",
        ),
        ("-n0", "-q", "--durations=3", "--no-header", "--setup-show"),
        ("-s", "-v", "--strict-markers", "--strict-config", "--log-cli-level=DEBUG"),
        ("--capture=no", "-W", "error", "--import-mode=importlib", "--color=yes"),
        ("--capture=fd", "-vv", "-rA", "--tb=no", "--full-trace", "--no-summary"),
    ],
    ids=" ".join,
)
def test_flag_changes_nothing_of_what_is_measured(
    canned_project: Project, flags: tuple[str, ...]
) -> None:
    """Under each set of flags the case passes, without a warning, and results are written."""
    canned_project.write_matrix()
    # In some installations pytest warns of a second pytest in one process.
    own = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    result = canned_project.run(*UPDATE, *flags, *own)
    assert pytest.ExitCode.OK == result.ret
    assert "passed" == canned_project.report()[CASE]["status"]
    result.stdout.no_fnmatch_line("*warning*")


def test_run_without_a_terminal_writes_its_results(canned_project: Project) -> None:
    """-p no:terminal removes the summary and nothing else."""
    canned_project.write_matrix()
    assert pytest.ExitCode.OK == canned_project.run(*UPDATE, "-p", "no:terminal").ret
    assert ["net"] == locked(canned_project)


def test_verbosity_lists_cases_and_probes_or_neither(canned_project: Project) -> None:
    """-v shows a line for each case, and -q a letter."""
    canned_project.write_matrix()
    verbose = canned_project.run(*UPDATE, "-v")
    verbose.stdout.fnmatch_lines([f"test_profiles.py::test_gpu_profile[[]{CASE}[]] PASSED*"])
    quiet = canned_project.run(*UPDATE, "-q")
    quiet.stdout.no_fnmatch_line("*test_gpu_profile*")
    quiet.stdout.fnmatch_lines([".*100%*", f"{CASE}*passed"])


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_listing_of_workers_measures_nothing(canned_project: Project, workers: str) -> None:
    """--collect-only with xdist leaves no results and succeeds."""
    result = canned_project.run("--gpu-profile", "--co", "-q", workers, subprocess=workers == "-n2")
    assert pytest.ExitCode.OK == result.ret
    assert not canned_project.results.exists()


def test_junit_agrees_with_the_exit_code(canned_project: Project) -> None:
    """JUnit counts a regression as a failure, and trouble with the machine as an error."""
    canned_project.run(*UPDATE)
    text = canned_project.lock.read_text(encoding="utf-8")
    canned_project.lock.write_text(
        text.replace("batch_size = 4", "batch_size = 8", 2), encoding="utf-8"
    )
    result = canned_project.run("--gpu-profile", "--junitxml=junit.xml")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    suite = ET.parse(canned_project.path / "junit.xml").getroot()[0]  # noqa: S314 - our own
    assert ("4", "2", "1", "0") == tuple(
        suite.get(name) for name in ("tests", "failures", "errors", "skipped")
    )
    trouble = {
        case.get("name"): child.tag for case in suite for child in case if child.tag != "properties"
    }
    assert {
        f"test_gpu_profile[{model}-cpu-48MiB-1]": tag
        for model, tag in (("net", "failure"), ("raises", "failure"), ("killed", "error"))
    } == trouble


def test_debugger_without_a_terminal_does_not_hang(project: Project) -> None:
    """--pdb without input interrupts pytest at the first failure, and nothing is locked."""
    make_halting(project, canned=True)
    project.write_matrix("Raises", "Net")
    with HaltingRun(project, "never", "--pdb") as run:
        assert pytest.ExitCode.INTERRUPTED == run.wait(), run.output
        assert ([], []) == (run.survivors(), run.leftovers())
    assert not project.lock.exists()


def test_crashed_worker_costs_its_case_alone(project: Project) -> None:
    """If an xdist worker is killed, its case fails, and the other cases are still locked."""
    make_halting(project, canned=True)
    project.write_matrix("Net", "NoValidation")
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text(encoding="utf-8")
        + "import os, signal\n\n"
        + "def pytest_runtest_call(item):\n"
        + f"    if 'novalidation' in item.name:\n        os.kill(os.getpid(), {int(SIGKILL)})\n",
        encoding="utf-8",
    )
    with HaltingRun(project, "never", "-n2") as run:
        assert pytest.ExitCode.TESTS_FAILED == run.wait(), run.output
        assert ([], []) == (run.survivors(), run.leftovers())
        assert "crashed" in run.output
    assert ["net"] == locked(project)
