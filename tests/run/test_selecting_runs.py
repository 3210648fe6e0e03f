"""Whole runs that measure only what has changed, or only for a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from git_repositories import Repository
from projects import use_canned_measurements

if TYPE_CHECKING:
    from projects import Project

SINCE = ("--gpu-profile", "--gpu-profile-changed-since", "HEAD")
BUDGET = ("--gpu-profile", "--gpu-profile-budget")


def ids(text: str) -> list[str]:
    """Return the cases whose tests a verbose run has run, in its order."""
    lines = [line for line in text.splitlines() if "::test_gpu_profile[" in line and "%]" in line]
    return [line.partition("[")[2].partition("]")[0] for line in lines]


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_only_changed_cases_run(project: Project) -> None:
    """A changed workload, a case that the commit does not lock, and an edited value run."""
    project.write_matrix("Net", "NoValidation", "Manual", cap=2)
    repository = Repository(project.path)
    project.lock_cases()
    repository.commit("Lock")
    text = project.lock.read_text()
    assert 3 == text.count("\nmax_batch_size = 2\n")
    nothing = project.run(*SINCE)
    assert pytest.ExitCode.OK == nothing.ret
    nothing.assert_outcomes(deselected=4)
    nothing.stdout.fnmatch_lines(
        [
            "gpu-profile: no selected case has changed since HEAD",
            "3 cases deselected: unchanged since HEAD",
        ]
    )
    # The profile of one is edited, the settings of another are changed, and one is new.
    edited = text.replace("\nbatch_size = 2\n", "\nbatch_size = 1\n", 1)
    project.lock.write_text(edited)
    matrix = project.path / "profiles" / "matrix.yaml"
    models = "model: [net, novalidation, manual"
    changed = matrix.read_text().replace(models, f"{models}, other")
    changed = changed.replace(
        "  net: {",
        "  other: {module: {class_path: zoo.Net}, data: {class_path: zoo.Numbers}}\n"
        "  net: {trainer: {gradient_clip_val: 1.0}, ",
    )
    matrix.write_text(changed)
    result = project.run(*SINCE, "--collect-only", "-q")
    assert ["net-cpu-48MiB-1", "manual-cpu-48MiB-1", "other-cpu-48MiB-1"] == [
        line.partition("[")[2].removesuffix("]") for line in result.outlines if "::" in line
    ]


def test_commit_without_the_lock_runs_everything(project: Project) -> None:
    """Where the commit has no lockfile, all cases are new."""
    use_canned_measurements(project)
    Repository(project.path).commit("Begin")
    project.run(*SINCE, subprocess=True).assert_outcomes(failed=1, deselected=1)


@pytest.mark.parametrize("is_repository", [True, False])
def test_commit_that_cannot_be_read_is_an_error_of_usage(
    project: Project, *, is_repository: bool
) -> None:
    """An unknown commit, and a folder without git, end the run before anything starts."""
    if is_repository:
        Repository(project.path).commit("Begin")
    result = project.run("--gpu-profile", "--gpu-profile-changed-since", "no/such")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    said = "*no/such is no commit*fetch-depth: 0*" if is_repository else "*not a git repository*"
    result.stderr.fnmatch_lines([said])


@pytest.mark.slow
def test_changed_since_holds_under_xdist(project: Project) -> None:
    """The controller decides: a worker is never sent what has not changed."""
    use_canned_measurements(project)
    Repository(project.path).commit("Begin")
    result = project.run(*SINCE, "-n2", subprocess=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["0 cases deselected: unchanged since HEAD"])


def test_used_up_budget_skips_and_measures_nothing(project: Project) -> None:
    """A run that cannot begin any case in its time fails, and names what it left out."""
    use_canned_measurements(project)
    result = project.run(*BUDGET, "0.001s", subprocess=True)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.assert_outcomes(skipped=1, deselected=1)
    reason = "the time budget of 1s was used up"
    result.stdout.fnmatch_lines([f"skipped net-cpu-48MiB-1: {reason}", "nothing was measured: *"])
    case = project.report()["net-cpu-48MiB-1"]
    assert ("skipped", reason) == (case["status"], case["reason"])


@pytest.mark.parametrize("flags", [(), pytest.param(("-n1",), marks=pytest.mark.slow)])
def test_what_fits_is_measured_and_the_rest_is_named(
    project: Project, flags: tuple[str, ...]
) -> None:
    """A case whose time is over when it would begin is skipped; the run does not fail for it."""
    # The clock of the budget runs out while the first case is measured.
    use_canned_measurements(
        project,
        "import time\n\n"
        "def pytest_runtest_teardown(item):\n"
        "    run = item.config.pluginmanager.get_plugin('gpu_profile_run')\n"
        "    from harness.scheduling.time_budget import TimeBudget\n"
        "    run.selecting.budget = TimeBudget(3600.0, time.monotonic())\n",
    )
    project.write_matrix("Net", "NoValidation")
    result = project.run(*BUDGET, "1h", "--gpu-profile-update", *flags, subprocess=True)
    assert pytest.ExitCode.OK == result.ret
    result.assert_outcomes(passed=1, skipped=1, deselected=0 if flags else 1)
    result.stdout.fnmatch_lines(["skipped *: the time budget of 1h was used up"])
    passed = [name for name, case in project.report().items() if case["status"] == "passed"]
    known = json.loads((project.results / "verified.json").read_text())
    assert passed == list(known["cases"])


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_running_case_ends_at_the_budget(project: Project) -> None:
    """No probe begins after the time; the case is skipped, and says that the next run goes on."""
    (project.path / "conftest.py").write_text(
        "import time\n\n"
        "def pytest_runtest_call(item):\n"
        "    item.config.pluginmanager.get_plugin('gpu_profile_run').session.deadline = 0.0\n"
    )
    result = project.run(*BUDGET, "1h")
    result.assert_outcomes(skipped=1, deselected=1)
    result.stdout.fnmatch_lines(["skipped net-cpu-48MiB-1: the time budget was used up before *"])


@pytest.mark.slow
@pytest.mark.usefixtures("runs_share_a_zygote")
def test_changed_case_is_first_and_the_last_verified_one_last(project: Project) -> None:
    """Under a time budget the order is by how much a measurement tells."""
    project.write_matrix("Net", "NoValidation", "Manual", cap=2)
    project.lock_cases()
    times = {"net-cpu-48MiB-1": 2_000_000_000.0, "novalidation-cpu-48MiB-1": 1_000_000_000.0}
    content = {"version": 1, "cases": times}
    project.results.mkdir(exist_ok=True)
    (project.results / "verified.json").write_text(json.dumps(content))
    matrix = project.path / "profiles" / "matrix.yaml"
    matrix.write_text(
        matrix.read_text().replace("  manual: {", "  manual: {trainer: {log_every_n_steps: 7}, ")
    )
    result = project.run(*BUDGET, "1h", "-v")
    assert ["manual-cpu-48MiB-1", "novalidation-cpu-48MiB-1", "net-cpu-48MiB-1"] == ids(
        result.stdout.str()
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("30",), "a duration such as 90s, 30m, 2h or 1h30m"),
        (("0s",), "a duration is above 0s"),
        (("1h", "--gpu-profile-preset", "production"), "this run only checks the lock"),
        (("1h", "-n2", "--dist", "loadfile"), "works with --dist load"),
        (("1h", "--tx", "2*ssh=host", "--dist", "load"), "works with --dist load"),
    ],
)
def test_budget_that_cannot_be_kept_is_refused(
    project: Project, flags: tuple[str, ...], said: str
) -> None:
    """A wrong duration, and a run that it does not limit, are errors of usage."""
    result = project.run(*BUDGET, *flags)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines([f"*{said}*"])
