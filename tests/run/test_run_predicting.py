"""Runs with `--gpu-profile-predict` that predict nothing: wrong flags, and a torch without CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from projects import Project

PREDICT = ("--gpu-profile", "--gpu-profile-predict")


def test_predicting_without_profiling_is_refused(project: Project) -> None:
    """The flag needs `--gpu-profile`; the ini key does not."""
    refused = project.run("--gpu-profile-predict")
    assert pytest.ExitCode.USAGE_ERROR == refused.ret
    refused.stderr.fnmatch_lines(
        ["*--gpu-profile-predict has no effect without --gpu-profile: add it"]
    )
    project.pytester.makeini("[pytest]\ngpu_profile_predict = true\n")
    project.run().assert_outcomes(passed=1, deselected=1)


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_torch_without_cuda_is_refused_in_one_sentence(project: Project) -> None:
    """It says what is missing, and the command that installs it; nothing is collected."""
    refused = project.run(*PREDICT)
    assert pytest.ExitCode.USAGE_ERROR == refused.ret
    public = torch.__version__.partition("+")[0]
    command = f"`pip install --force-reinstall torch=={public}`"
    refused.stderr.fnmatch_lines(
        [f"ERROR: a simulated GPU needs torch's CUDA build, and torch *: {command}, from PyPI *"]
    )
