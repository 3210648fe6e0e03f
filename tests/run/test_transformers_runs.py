"""A whole run of transformers' Trainers: measured, locked, checked and read back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from projects import copy_into
from transformers import TrainingArguments
from trl import SFTConfig

from harness.cli.command_line import main
from harness.train_time.load_profile import load_profile

if TYPE_CHECKING:
    from projects import Project

# TRL sets an argument that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated")

MATRIX = """\
version: 1
matrix:
  model: [pictures, tuned]
  gpu: [cpu-64MiB]
  resolution: [16]
models:
  pictures:
    training: {{class_path: transformers_zoo.pictures, init_args: {{weight_decay: {decay}}}}}
    search: {{min_batch_size: 50, max_batch_size: 50}}
    lr_range: {{when: always, num_training: 400, seeds: [0], horizon: 20}}
  tuned:
    training: {{class_path: trl_zoo.tuned, init_args: {{gradient_accumulation_steps: 2}}}}
gpus:
  cpu-64MiB: {{accelerator: cpu, budget: 64MiB}}
lr_range: {{when: never}}
"""


def write_matrix(project: Project, decay: float = 0.0) -> None:
    """Write the matrix, and what it names."""
    copy_into(project.path / "profiles", "transformers_zoo.py", "trl_zoo.py")
    path = project.path / "profiles" / "matrix.yaml"
    path.write_text(MATRIX.format(decay=decay), encoding="utf-8")


def test_trainers_are_locked_and_read_back(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """At their cap and at the end of their data; what they print is not in the terminal."""
    write_matrix(project)
    result = project.run("--gpu-profile", "--gpu-profile-update")
    assert pytest.ExitCode.OK == result.ret
    assert "train_runtime" not in result.stdout.str() + result.stderr.str()
    assert [(50, "cap"), (60, "dataset")] == [
        (case["max_batch_size"], case["bounded_by"]) for case in project.report().values()
    ]
    pictures = load_profile("pictures", resolution=16, gpu="cpu-64MiB", lock=project.lock)
    args = TrainingArguments(output_dir="unused", use_cpu=True, **pictures.training_arguments())
    assert (50, pictures.learning_rate) == (args.per_device_train_batch_size, args.learning_rate)
    tuned = load_profile("tuned", resolution=16, gpu="cpu-64MiB", lock=project.lock)
    given = tuned.training_arguments(learning_rate=False)
    config = SFTConfig(
        output_dir="unused", use_cpu=True, bf16=False, gradient_accumulation_steps=2, **given
    )
    assert (60, 2) == (config.per_device_train_batch_size, config.gradient_accumulation_steps)

    write_matrix(project, decay=0.1)
    assert 1 == main(["check"])
    assert re.search(r"stale\W+pictures-cpu-64MiB-16", capsys.readouterr().out)
