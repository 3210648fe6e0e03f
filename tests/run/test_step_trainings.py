"""Whole runs of trainings with loops of their own: measured, locked, checked and judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from projects import copy_into

from harness.cli.command_line import main
from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

pytestmark = pytest.mark.usefixtures("runs_share_a_zygote")

MATRIX = """\
version: 1
matrix:
  model: [loop, rated]
  gpu: [cpu-48MiB]
  resolution: [1]
models:
  loop:
    training: {{class_path: trainings_zoo.Loop, init_args: {{width: {width}, accumulate: 2}}}}
  rated:
    training: {{class_path: trainings_zoo.Loop, init_args: {{width: 64}}}}
    lr_range: {{when: always, num_training: 200, seeds: [0], horizon: 10}}
gpus:
  cpu-48MiB: {{accelerator: cpu, budget: 48MiB}}
trainer: {{accumulate_grad_batches: 2}}
search: {{max_batch_size: 16}}
lr_range: {{when: never}}
"""


def write_matrix(project: Project, width: int = 4096) -> Path:
    """Write the matrix, and what it names."""
    copy_into(project.path / "profiles", "trainings_zoo.py")
    path = project.path / "profiles" / "matrix.yaml"
    path.write_text(MATRIX.format(width=width), encoding="utf-8")
    return path


def test_trainings_are_locked_and_judged_as_any_workload(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """At their cap, with a learning rate, also beside the lock; another model is stale."""
    write_matrix(project)
    assert pytest.ExitCode.OK == project.run("--gpu-profile", "--gpu-profile-update").ret
    found = project.report()
    assert [(16, "cap")] * 2 == [
        (case["max_batch_size"], case["bounded_by"]) for case in found.values()
    ]
    profiles = {one.axes["model"]: one for one in read_lock(project.lock).profiles}
    assert 1e-4 < (profiles["rated"].learning_rate or 0) < 1
    # `trainer` is Lightning's: no training is stale by it.
    assert {False} == {name.startswith("trainer") for name in profiles["loop"].settings}

    assert pytest.ExitCode.OK == project.run("--gpu-profile", "-k", "loop").ret
    write_matrix(project, width=2048)
    assert 1 == main(["check"])
    assert re.search(r"stale\W+loop-cpu-48MiB-1", capsys.readouterr().out)
