"""A transformers.Trainer, predicted: its peak is that of its own training, without a probe."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from projects import copy_into
from simulated_runs import make_project

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

MATRIX = """
version: 1
matrix: {model: [tuned], gpu: [h100-as-1GiB], resolution: [16]}
models:
  tuned:
    training:
      class_path: trl_zoo.tuned
      init_args: {bf16: true, gradient_accumulation_steps: 2}
    search: {min_batch_size: 16, max_batch_size: 16}
gpus:
  h100-as-1GiB: {name: NVIDIA H100*, budget: 1GiB}
"""
VERB = "from harness.cli import main; raise SystemExit(main())"
# The training as its user would write it, on the same zeros in place of computed values.
PLAIN = """
import json, sys, torch
sys.path.insert(0, "profiles")
import trl_zoo
from harness.probe_tasks.zeros.table import consistent_zeros
with consistent_zeros():
    trl_zoo.tuned(
        bf16=True, gradient_accumulation_steps=2, per_device_train_batch_size=16, max_steps=3,
        save_strategy="no", report_to="none", disable_tqdm=True,
    ).train()
print("peak", torch.cuda.max_memory_reserved())
"""


def run(folder: Path, *words: str) -> str:
    """Return what a verb of gpu-profile prints."""
    done = subprocess.run(
        [sys.executable, "-c", VERB, *words],
        cwd=folder, check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_predicted_peak_is_that_of_the_plain_training(tmp_path: Path, worlds: Worlds) -> None:
    """Of an SFTTrainer with LoRA, with what holds the memory named."""
    assert worlds is not None  # it skips where no GPU can be simulated
    folder = make_project(tmp_path / "project", MATRIX, "")
    copy_into(folder / "profiles", "transformers_zoo.py", "trl_zoo.py")
    text = run(folder, "predict", "tuned-h100-as-1GiB-16")
    told = run(folder, "simulate", "--gpu", "H100", "--", sys.executable, "-c", PLAIN)
    row = text.split("  activations\n", 1)[1].splitlines()[1].split()
    peak = int(told.split("peak ")[1].split()[0]) / 2**20
    assert ["H100", "16", f"{peak:.1f}"] == [row[0], row[1], row[4]], text
    assert "activation of model.base_model.model.transformer.h.0" in text, text
