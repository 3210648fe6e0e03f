"""Whole runs under pytest: they measure, compare, lock and report."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from projects import copy_into

from harness.devices.cpu import CpuDevice

if TYPE_CHECKING:
    from projects import Project
    from warm_zygotes import WarmZygotes

XDIST = pytest.mark.parametrize(
    "workers",
    # The README's own run is a plain one.
    [pytest.param((), marks=pytest.mark.slow, id="plain"), pytest.param(("-n2",), id="n2")],
)
CASE = "net-cpu-48MiB-1"


def locked(project: Project) -> list[dict[str, Any]]:
    """Read the lockfile as any TOML reader does."""
    profiles: list[dict[str, Any]] = tomllib.loads(project.lock.read_text(encoding="utf-8"))[
        "profile"
    ]
    return profiles


@XDIST
@pytest.mark.usefixtures("new_zygotes")
def test_first_run_fails_and_update_locks_and_the_next_run_passes(
    project: Project,
    workers: tuple[str],
    warm_zygotes: WarmZygotes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A case that was never locked fails, an update locks it, and the same values then pass."""
    if workers:  # without workers the zygotes are new Pythons
        ours = {**os.environ, **CpuDevice.environment}
        for name, value in warm_zygotes.variables(ours, project.path / "sessions.txt").items():
            monkeypatch.setenv(name, value)
    first = project.run("--gpu-profile", *workers, subprocess=bool(workers))
    first.assert_outcomes(failed=1, deselected=0 if workers == ("-n2",) else 1)
    first.stdout.fnmatch_lines(
        [f"{CASE}: never locked on cpu, 48.0 MiB*", "*--gpu-profile-update*"]
    )
    assert pytest.ExitCode.TESTS_FAILED == first.ret
    assert not project.lock.exists()

    update = project.run(
        "--gpu-profile", "--gpu-profile-update", *workers, subprocess=bool(workers)
    )
    assert pytest.ExitCode.OK == update.ret
    assert [16] == [profile["max_batch_size"] for profile in locked(project)]
    assert ["cap"] == [profile["bounded_by"] for profile in locked(project)]

    before = project.lock.read_bytes()
    again = project.run("--gpu-profile", *workers, subprocess=bool(workers))
    assert pytest.ExitCode.OK == again.ret
    assert before == project.lock.read_bytes()
    assert ("passed", 16) == (
        project.report()[CASE]["status"],
        project.report()[CASE]["max_batch_size"],
    )


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_regression_fails_and_says_what_was_locked_measured_and_allowed(project: Project) -> None:
    """A batch below the bound fails, with the values and the command that accepts it."""
    project.lock_cases()
    text = project.lock.read_text(encoding="utf-8")
    project.lock.write_text(text.replace("batch_size = 16", "batch_size = 32"), encoding="utf-8")
    result = project.run("--gpu-profile")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [
            f"{CASE}: max batch 16 (-50.0%) where at least 31 is allowed",
            "*max batch*32*16*at least 31*",
            (
                '*pytest --gpu-profile --gpu-profile-update "test_profiles.py::'
                'test_gpu_profile[[]net-cpu-48MiB-1[]]"*'
            ),
        ]
    )
    assert [{"bound": "batch_size", "locked": 32, "measured": 16, "allowed": 31}] == [
        {name: violation[name] for name in ("bound", "locked", "measured", "allowed")}
        for violation in project.report()[CASE]["violations"]
    ]


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_improvement_passes_and_names_the_command_that_locks_it(project: Project) -> None:
    """A gain beyond the bound passes, and the summary reports it."""
    project.lock_cases()
    text = project.lock.read_text(encoding="utf-8")
    project.lock.write_text(text.replace("batch_size = 16", "batch_size = 8"), encoding="utf-8")
    result = project.run("--gpu-profile")
    assert pytest.ExitCode.OK == result.ret
    result.stdout.fnmatch_lines([f"{CASE}: better than locked:*", "*--gpu-profile-update*"])


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_changed_workload_is_stale(project: Project) -> None:
    """Another model under the same name fails, and the message lists the changes."""
    project.lock_cases()
    matrix = project.path / "profiles" / "matrix.yaml"
    wider = matrix.read_text(encoding="utf-8").replace(
        "zoo.Net}", "zoo.Net, init_args: {width: 512}}"
    )
    matrix.write_text(wider, encoding="utf-8")
    result = project.run("--gpu-profile")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(["*stale: the workload changed*", "*num_parameters 77826 -> 9730*"])


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_update_of_a_subset_keeps_the_rest(project: Project) -> None:
    """An update writes the cases that were measured, and no others."""
    project.write_matrix("Net", "NoValidation")
    project.run("--gpu-profile", "--gpu-profile-update", "-k", "novalidation")
    assert ["novalidation"] == [profile["model"] for profile in locked(project)]
    first = project.lock.read_text(encoding="utf-8").partition("[[profile]]")[2]
    project.run("--gpu-profile", "--gpu-profile-update", "-k", "net-cpu")
    assert ["net", "novalidation"] == [profile["model"] for profile in locked(project)]
    assert first in project.lock.read_text(encoding="utf-8")


def test_results_are_left_for_people_and_machines(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run leaves report.json, report.md, candidate.lock, logs and plot, which git ignores."""
    project.write_matrix(lr="always")
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    project.run("--gpu-profile")
    names = {path.name for path in project.results.iterdir()}
    marks = {".gitignore", ".gpu-profile-results"}
    assert {*marks, "report.json", "report.md", "candidate.lock", CASE} == names
    assert (project.results / "report.md").read_text(encoding="utf-8") in summary.read_text(
        encoding="utf-8"
    )
    candidate = tomllib.loads((project.results / "candidate.lock").read_text(encoding="utf-8"))
    assert [16] == [profile["max_batch_size"] for profile in candidate["profile"]]
    case = project.results / CASE
    assert (case / "lr_range.png").read_bytes().startswith(b"\x89PNG")
    assert {"lr_range.json", "lr_range.png", "zygote.log"} < {path.name for path in case.iterdir()}


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_candidate_is_what_an_update_would_write(project: Project) -> None:
    """The candidate equals the lockfile after an update on the same machine."""
    project.lock_cases()
    project.run("--gpu-profile")
    candidate = (project.results / "candidate.lock").read_text(encoding="utf-8")
    stable = [
        line
        for line in candidate.splitlines()
        if not line.startswith(("samples_per", "peak_memory"))
    ]
    lock = project.lock.read_text(encoding="utf-8")
    assert stable == [
        line for line in lock.splitlines() if not line.startswith(("samples_per", "peak_memory"))
    ]


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_own_asserts_on_the_same_fixture_share_the_measurement(project: Project) -> None:
    """A user's own test gets the same measurement: a run measures a case once."""
    (project.path / "test_profiles.py").write_text(
        """
from harness.testing import test_gpu_profile

def test_speed(gpu_profile):
    assert gpu_profile.locked is None
    assert gpu_profile.case.model == "net"
    assert gpu_profile.measurement.samples_per_second > 1e9
""",
        encoding="utf-8",
    )
    result = project.run("--gpu-profile", "--gpu-profile-update")
    result.assert_outcomes(passed=1, failed=1)
    logs = sorted(path.name for path in (project.results / CASE).glob("*train*.log"))
    assert len(logs) == len(project.report()[CASE]["probes"])


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_verbose_run_shows_probes_and_reports_point_at_the_users_module(project: Project) -> None:
    """Under -v each probe is a line; terminal and JUnit locate the test in the user's module."""
    xml = project.path / "junit.xml"
    result = project.run("--gpu-profile", "-v", f"--junitxml={xml}")
    result.stdout.fnmatch_lines(
        [
            f"test_profiles.py::test_gpu_profile[[]{CASE}[]]*",
            f"{CASE}: building the workload",
            f"{CASE}: batch 16 fits, peak * MiB of 48.0 MiB, * s",
        ]
    )
    result.stdout.no_fnmatch_line("*<- *")
    text = xml.read_text(encoding="utf-8")
    assert 'errors="0" failures="1"' in text
    assert 'classname="test_profiles"' in text


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_workers_are_locked_with_their_rates_shown(project: Project) -> None:
    """A step that takes longer than its data needs no worker; that is locked, and never stale."""
    copy_into(project.path / "profiles", "loading_zoo.py")
    project.write_matrix(cap=8, data="loading_zoo.Archive", search="validation: false")
    matrix = project.path / "profiles" / "matrix.yaml"
    without = matrix.read_text(encoding="utf-8")
    matrix.write_text(without + "workers: {max: 1}\n", encoding="utf-8")
    done = project.run("--gpu-profile", "--gpu-profile-update")
    (profile,) = locked(project)
    case = project.report()[CASE]
    assert (True, profile["num_workers"]) == (profile["num_workers"] in (0, 1), case["num_workers"])
    assert "0" in case["loader_samples_per_second"]
    assert case["step_samples_per_second"] > 0
    done.stdout.fnmatch_lines([f"{CASE}: the loader alone loads * samples/s with 0 workers*"])
    matrix.write_text(without, encoding="utf-8")
    project.run("--gpu-profile").assert_outcomes(passed=1, deselected=1)
