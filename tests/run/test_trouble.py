"""Trouble during a run: broken workloads, a broken machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from projects import Project


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_workload_that_raises_fails_with_phase_and_traceback(project: Project) -> None:
    """The user's exception is shown with its phase, after no more than three probes."""
    project.write_matrix("Raises")
    result = project.run("--gpu-profile")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "*no batch size trains: batch 1 failed in backward:*",
            "*in explode*",
            "ValueError: labels must*",
        ]
    )
    case = project.report()["raises-cpu-48MiB-1"]
    assert ("error", 0) == (case["bounded_by"], case["max_batch_size"])
    assert len(case["probes"]) <= 3


def test_workload_that_cannot_be_built_fails_with_its_traceback(project: Project) -> None:
    """An exception of a constructor fails the test and shows its traceback."""
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("zoo.Net}", "zoo.Net, init_args: {depth: 3}}")
    matrix.write_text(text, encoding="utf-8")
    result = project.run("--gpu-profile")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["*the workload cannot be built: TypeError: *'depth'*", "*Traceback*"]
    )


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_kernel_limit_above_some_batch_bounds_by_error(project: Project) -> None:
    """If larger batches fail for a reason other than memory, `error` bounds the largest batch."""
    project.write_matrix("RaisesAbove", cap=64)
    project.run("--gpu-profile", "--gpu-profile-update")
    case = project.report()["raisesabove-cpu-48MiB-1"]
    assert ("passed", 10, "error") == (case["status"], case["max_batch_size"], case["bounded_by"])


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_nothing_that_fits_is_never_locked(project: Project) -> None:
    """An update refuses a case in which no batch trains."""
    project.write_matrix("GreedyValidation", search="min_batch_size: 64", cap=64)
    result = project.run("--gpu-profile", "--gpu-profile-update")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*no batch size trains: batch 64 out of memory in", "*validation"])
    assert not project.lock.exists()


def test_damaged_lock_is_told_and_left_alone(project: Project) -> None:
    """Conflict markers are a usage error with their line; the lockfile stays as it is."""
    project.lock.write_text("version = 1\n<<<<<<< HEAD\n", encoding="utf-8")
    result = project.run("--gpu-profile", "--gpu-profile-update")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*gpu-profile.lock:2: *conflict*"])
    assert "version = 1\n<<<<<<< HEAD\n" == project.lock.read_text(encoding="utf-8")


def test_trouble_with_the_machine_is_an_error_and_no_failure(project: Project) -> None:
    """A MachineError in the call is an error for pytest and JUnit, and the exit code is 1."""
    (project.path / "test_profiles.py").write_text(
        """
from harness.errors import MachineError

def test_busy(gpu_profile):
    raise MachineError("the GPU is held by another process")
""",
        encoding="utf-8",
    )
    xml = project.path / "junit.xml"
    result = project.run("--gpu-profile", f"--junitxml={xml}")
    result.assert_outcomes(errors=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert 'errors="1" failures="0"' in xml.read_text(encoding="utf-8")
    assert "error" == project.report()["net-cpu-48MiB-1"]["status"]
