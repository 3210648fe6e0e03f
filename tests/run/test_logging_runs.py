"""Whole runs with loggers in their matrix."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from projects import copy_into

from harness.devices.cpu import CpuDevice

if TYPE_CHECKING:
    from projects import Project
    from warm_zygotes import WarmZygotes

CASE = "net-cpu-48MiB-1"
LOGGERS = """
loggers:
  - {class_path: loggers_zoo.Recording, init_args: {file: logged.jsonl, name: "${case}"}}
  - {class_path: loggers_zoo.Raises, init_args: {password: hunter2222}}
"""


def add_loggers(project: Project) -> None:
    """Name loggers in the matrix."""
    copy_into(project.path / "profiles", "loggers_zoo.py")
    matrix = project.path / "profiles" / "matrix.yaml"
    matrix.write_text(matrix.read_text(encoding="utf-8") + LOGGERS, encoding="utf-8")


def logged(project: Project) -> list[list[Any]]:
    """Return what the recording logger has written."""
    file = project.path / "logged.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_loggers_get_the_values_and_change_nothing(project: Project) -> None:
    """The lock that was made without them is fresh, and one that raises fails no case."""
    project.lock_cases()
    add_loggers(project)
    result = project.run("--gpu-profile")
    assert pytest.ExitCode.OK == result.ret
    result.stdout.fnmatch_lines(
        [
            (
                "warning: the logger Raises did not log 1 of 1 cases: PermissionError: no login with "
                "[*][*][*] at*"
            ),
        ]
    )
    assert "hunter2222" not in result.stdout.str()
    lines = logged(project)
    assert [["made", CASE], ["end", "success"]] == [lines[0], lines[-1]]
    step, values = next(value for kind, value in reversed(lines) if kind == "metrics")
    assert (0, 16, 16, 1) == (
        step,
        values["tuned/max_batch_size"],
        values["locked/max_batch_size"],
        values["passed"],
    )


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_production_logs_nothing(project: Project) -> None:
    """It measures nothing, so there is nothing to log."""
    project.lock_cases()
    add_loggers(project)
    result = project.run("--gpu-profile", "--gpu-profile-preset", "production")
    assert pytest.ExitCode.OK == result.ret
    assert [] == logged(project)


@pytest.mark.slow
def test_controller_alone_logs(
    project: Project, warm_zygotes: WarmZygotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With xdist's workers each case is logged once."""
    ours = {**os.environ, **CpuDevice.environment}
    for name, value in warm_zygotes.variables(ours, project.path / "sessions.txt").items():
        monkeypatch.setenv(name, value)
    project.write_matrix("Net", "Scheduled")
    add_loggers(project)
    project.run("--gpu-profile", "-n2", subprocess=True)
    made = sorted(value for kind, value in logged(project) if kind == "made")
    assert [CASE, "scheduled-cpu-48MiB-1"] == made
