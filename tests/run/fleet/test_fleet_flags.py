"""Flags that do not go with an executor, each refused by name before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from projects import Project


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--gpu-profile-executor", "slurm"],
            "--gpu-profile-executor slurm (ini: *) is none of: ray. For Slurm see *",
        ),
        (["--gpu-profile-executor", "ray", "-n2"], "-n is not used beside --gpu-profile-executor*"),
        (
            ["--gpu-profile-executor", "ray", "--gpu-profile-predict"],
            "--gpu-profile-predict is not used beside --gpu-profile-executor: *",
        ),
        (
            ["--gpu-profile-executor", "ray", "--gpu-profile-share"],
            "--gpu-profile-share is not used beside --gpu-profile-executor: *",
        ),
        (
            ["--gpu-profile-executor", "ray", "--gpu-profile-preset", "production"],
            "--gpu-profile-executor is not allowed with the preset production*",
        ),
    ],
)
def test_flags_that_an_executor_does_not_obey(
    project: Project, flags: list[str], message: str
) -> None:
    """Each is refused by name, with what to do."""
    result = project.run("--gpu-profile", *flags)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
