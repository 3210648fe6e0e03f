"""Trouble during a run: broken workloads, a broken machine, interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
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


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 2, id="INT"),
        # tests/faults/test_interrupted.py sends these in other phases.
        pytest.param(signal.SIGTERM, 143, id="TERM", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, id="KILL", marks=pytest.mark.slow),
    ],
)
def test_interrupted_search_leaves_nothing_behind(project: Project, number: int, code: int) -> None:
    """A signal during a probe leaves no process, no temporary file and no lockfile."""
    project.write_matrix("Hangs")
    scratch = project.path / "tmp"
    scratch.mkdir()
    environment = os.environ | {"TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    run = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--gpu-profile",
            "--gpu-profile-update",
            "-v",
        ],
        cwd=project.path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    started = _processes_of_the_probe(run)
    run.send_signal(number)
    run.communicate(timeout=60)
    _, alive = psutil.wait_procs(started, timeout=15)
    assert [] == alive
    assert code == run.returncode
    assert [] == list(scratch.glob("gpu-profile-*"))
    assert not project.lock.exists()


def _processes_of_the_probe(run: subprocess.Popen[str]) -> list[psutil.Process]:
    """Read the run's output until it builds, and return its zygote, a supervisor and a probe."""
    assert run.stdout is not None
    for line in run.stdout:
        if "building the workload" in line:
            break
    while len(started := psutil.Process(run.pid).children(recursive=True)) < 3:
        assert run.poll() is None, "the run ended before its first probe"
    return started


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
