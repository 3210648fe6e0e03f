"""Runs on a machine whose only GPU is a stub of NVML, without CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from nvml_stub import GIB, gpu, world

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

CASE = "net-h200-1"


@pytest.fixture
def stubbed(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make a project with one case for an H200; other processes hold most of the machine's H200."""
    project.write_matrix(gpus="h200")
    # Its lock is the machine's: no test beside this one may have the same GPU.
    busy = gpu(uuid="GPU-busy", free=20 * GIB, process=[f"compute 999999 {120 * GIB}"])
    for name, value in world(tmp_path, [busy]).items():
        monkeypatch.setenv(name, value)
    return project


def test_busy_gpu_is_an_error_of_the_test(stubbed: Project) -> None:
    """A busy GPU is an error of the test; the report names the process, and no zygote starts."""
    result = stubbed.run("--gpu-profile", "--gpu-profile-wait", "0", subprocess=True)
    result.assert_outcomes(errors=1, deselected=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    case = stubbed.report()[CASE]
    assert "error" == case["status"]
    assert "NVIDIA H200 (GPU-busy) is busy: 20.0 GiB are free" in case["reason"]
    assert "process 999999" in case["reason"]
    assert not (stubbed.results / CASE / "zygote.log").exists()


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", "1e9"])
def test_wait_that_is_no_number_of_seconds_is_refused(stubbed: Project, wait: str) -> None:
    """A wrong option is a usage error that names the allowed values."""
    result = stubbed.run("--gpu-profile", f"--gpu-profile-wait={wait}")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(
        [f"*--gpu-profile-wait {wait} is not allowed; a number of seconds from 0 to 86400*"]
    )


def test_torch_without_cuda_is_the_machines_trouble(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU beside torch's CPU build is an error of the test that says what to install."""
    if torch.backends.cuda.is_built():  # type: ignore[no-untyped-call] # torch leaves it untyped
        pytest.skip("this torch has CUDA")
    project.write_matrix(gpus="h200")
    for name, value in world(tmp_path, [gpu()]).items():
        monkeypatch.setenv(name, value)
    project.run("--gpu-profile", subprocess=True).assert_outcomes(errors=1, deselected=1)
    reason = project.report()[CASE]["reason"]
    assert f"torch {torch.__version__} is built without CUDA: install one of the builds" in reason


def test_lost_gpu_is_told(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost GPU is an error of the test with the remedy, and the case is not skipped."""
    project.write_matrix(gpus="h200")
    for name, value in world(tmp_path, [gpu(fail="nvmlDeviceGetMemoryInfo_v2 15")]).items():
        monkeypatch.setenv(name, value)
    result = project.run("--gpu-profile", subprocess=True)
    result.assert_outcomes(errors=1, deselected=1)
    assert "nvidia-smi --gpu-reset" in project.report()[CASE]["reason"]
