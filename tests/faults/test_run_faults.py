"""Faults outside of measurements: no GPU, mistakes in the matrix, files that cannot be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import canned_measurements as canned
import pytest

import harness.measure.measuring
from harness.devices.nvml import gpus as nvml
from harness.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

    from harness.devices.nvml.gpu import Gpu

CASE = "net-cpu-48MiB-1"
UPDATE = ("--gpu-profile", "--gpu-profile-update")


@pytest.fixture(autouse=True)
def measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace measurements with canned ones: these tests are about everything around them."""
    monkeypatch.setattr(harness.measure.measuring, "measure_case", canned.measure_case)


def test_no_driver_is_the_reason_why_nothing_was_measured(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a driver the GPU's cases are skipped with NVML's reason, and the run fails."""

    def visible_gpus() -> list[Gpu]:
        raise HarnessError("no NVIDIA driver")

    monkeypatch.setattr(nvml, "visible_gpus", visible_gpus)
    project.write_matrix("Net", "NoValidation", gpus="h200")
    result = project.run(*UPDATE)
    result.assert_outcomes(skipped=2, deselected=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(
        ["nothing was measured: 2 cases skipped: needs NVIDIA H200: no NVIDIA driver*"]
    )
    assert not project.lock.exists()


def test_no_visible_gpu_is_the_reason_why_nothing_was_measured(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no GPU is visible, the reason of the skip says so."""
    monkeypatch.setattr(nvml, "visible_gpus", list)
    project.write_matrix(gpus="h200")
    result = project.run("--gpu-profile", "-rs")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(
        ["nothing was measured: 1 case skipped: needs NVIDIA H200*no visible GPU*"]
    )


def test_skipped_gpu_does_not_fail_the_others(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cases for a GPU that is not here are skipped; the others are measured and locked."""
    monkeypatch.setattr(nvml, "visible_gpus", list)
    project.write_matrix(gpus="cpu-48MiB, h200")
    result = project.run(*UPDATE)
    result.assert_outcomes(passed=1, skipped=1, deselected=1)
    assert pytest.ExitCode.OK == result.ret
    assert ("passed", "skipped") == (
        project.report()[CASE]["status"],
        project.report()["net-h200-1"]["status"],
    )
    assert 1 == project.lock.read_text(encoding="utf-8").count("[[profile]]")


@pytest.mark.parametrize(
    "selection", [("-k", "nowhere"), ("-m", "gpu"), ("--deselect", "test_profiles.py")]
)
def test_deselecting_all_is_the_reason_why_nothing_was_measured(
    project: Project, selection: tuple[str, str]
) -> None:
    """A run whose selection leaves no case fails, and the summary names the usual causes."""
    (project.path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n", encoding="utf-8")
    result = project.run(*UPDATE, *selection)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(
        ["nothing was measured: no test ran for 1 case of the matrix*-k, -m*"]
    )
    assert not project.results.exists()


MISTAKES = """\
version: 1
matrix:
  model: [net, other]
  gpu: [cpu]
  resolution: [1]
models:
  net: {module: {class_path: zoo.Nett}, data: {class_path: nowhere.Numbers}}
gpus:
  cpu: {accelerator: tpu, budget: lots}
search: {mode: guess, max_batch_size: 0, steps: 3}
lr_range: {num_training: 5}
bounds: {batch_size: {max_drop: 200%}}
"""


def test_ten_mistakes_are_told_at_once(project: Project) -> None:
    """All mistakes of a matrix are listed with file and line, and nothing is measured."""
    matrix = project.path / "profiles" / "matrix.yaml"
    matrix.write_text(MISTAKES, encoding="utf-8")
    result = project.run(*UPDATE)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    told = [line for line in result.stderr.lines if "matrix.yaml:" in line]
    assert [3, 7, 7, 9, 9, 10, 10, 10, 11, 12] == sorted(
        int(line.split("matrix.yaml:")[1].split(":")[0]) for line in told
    )
    result.stdout.no_fnmatch_line("*collected*")
    assert not project.results.exists()
    assert not project.lock.exists()


def refuse_lock(project: Project, kind: str) -> str:
    """Make a lockfile that cannot be written; return its path."""
    if kind == "folder in its place":
        project.lock.mkdir()
    elif kind == "no folder":
        return "nowhere/gpu-profile.lock"
    elif kind == "read-only folder":  # for root too
        return "/proc/gpu-profile.lock"
    else:
        project.lock.write_text("version = 1\n", encoding="utf-8")
        project.lock.chmod(0o444)
    return "profiles/gpu-profile.lock"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("folder in its place", "*gpu-profile.lock: a folder; name the file in it*"),
        (
            "no folder",
            "*nowhere/gpu-profile.lock: cannot be written: there is no folder *nowhere; create it",
        ),
        (
            "read-only file",
            "*gpu-profile.lock: cannot be written: the file is read-only (chmod u+w to allow it)",
        ),
    ],
)
def test_lock_that_cannot_be_written_is_told_before_anything_is_measured(
    project: Project, kind: str, message: str
) -> None:
    """An update is refused at its start if its lockfile cannot be written."""
    where = refuse_lock(project, kind)
    result = project.run(*UPDATE, "--gpu-profile-lock", where)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines([message])
    assert not project.results.exists()


def test_read_only_lock_is_enough_to_compare_with(project: Project) -> None:
    """A run without an update works with a read-only lockfile."""
    project.run(*UPDATE)
    project.lock.chmod(0o444)
    result = project.run("--gpu-profile")
    assert pytest.ExitCode.OK == result.ret


def test_lock_that_is_damaged_meanwhile_is_told_and_the_report_is_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conflict markers that appear during a run fail it at its end; the report is still written."""

    def measure_case(*arguments: object) -> object:
        project.lock.write_text("version = 1\n<<<<<<< HEAD\n", encoding="utf-8")
        return canned.measure_case(*arguments)  # type: ignore[arg-type] # handed on

    monkeypatch.setattr(harness.measure.measuring, "measure_case", measure_case)
    result = project.run(*UPDATE)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(["*gpu-profile.lock:2: *conflict*"])
    assert "passed" == project.report()[CASE]["status"]
    assert "version = 1\n<<<<<<< HEAD\n" == project.lock.read_text(encoding="utf-8")


def test_results_that_cannot_be_written_are_an_error(project: Project) -> None:
    """A file in the place of the results folder is an error without a traceback."""
    project.results.write_text("", encoding="utf-8")
    result = project.run(*UPDATE)
    result.assert_outcomes(errors=1, deselected=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(
        ["*.gpu-profile: results cannot be written there: *--gpu-profile-dir*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    assert not project.lock.exists()


def test_step_summary_that_cannot_be_written_costs_neither_report_nor_lock(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A step summary that cannot be written fails the run; all other files are written."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    result = project.run(*UPDATE)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(
        [f"{tmp_path}, which GITHUB_STEP_SUMMARY names, cannot be written: *"]
    )
    assert project.lock.exists()
    assert (project.results / "candidate.lock").exists()


def test_file_in_the_place_of_a_cases_folder_is_an_error(project: Project) -> None:
    """A case whose logs cannot be written is an error."""
    project.results.mkdir()
    (project.results / CASE).write_text("", encoding="utf-8")
    result = project.run("--gpu-profile")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(
        [f"*.gpu-profile/{CASE} cannot hold the logs of a case: it is a file; *"]
    )
