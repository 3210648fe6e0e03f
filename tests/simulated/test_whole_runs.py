"""Whole runs of `pytest --gpu-profile` over simulated GPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from simulated_worlds import GIB, MIB, h100, inside

from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

MATRIX = """
version: 1
matrix: {model: [net], gpu: [h100-as-1GiB], resolution: [32]}
models:
  net:
    module: {class_path: net.Net}
    loss: {class_path: torch.nn.CrossEntropyLoss}
    data: {class_path: harness.synthetic.SyntheticImages, init_args: {resolution: "${resolution}", num_classes: 10}}
gpus:
  h100-as-1GiB: {name: NVIDIA H100*, budget: 1GiB}
"""
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(64, 10)

    def forward(self, images):
        x = self.act(self.mix(self.act(self.stem(images))))
        return self.head(x.mean((2, 3)))
"""


@pytest.fixture
def folder(worlds: Worlds) -> Path:
    """Make a user's project with one case on a GPU, and leave it unlocked."""
    folder = worlds.folder / "project"
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "test_profiles.py").write_text(
        "from harness.testing import test_gpu_profile\n"
    )
    (folder / "profiles" / "matrix.yaml").write_text(MATRIX)
    (folder / "net.py").write_text(NET)
    return folder


def run(worlds: Worlds, folder: Path, *flags: str, **changes: Any) -> tuple[int, str, Any]:
    """Run the cases on one H100; return the exit code, the output and the case of the report."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--gpu-profile", "-p", "no:cacheprovider", *flags],
        env=inside(worlds.make(h100(**changes))),
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    (case,) = json.loads((folder / ".gpu-profile" / "report.json").read_text())["cases"]
    return done.returncode, done.stdout, case


def test_search_ends_in_torchs_own_out_of_memory(worlds: Worlds, folder: Path) -> None:
    """B fits, B + 1 is CUDA's OutOfMemoryError at the fraction, and the case was never locked."""
    code, output, case = run(worlds, folder)
    largest = case["max_batch_size"]
    outcomes = {probe["batch_size"]: probe for probe in case["probes"] if probe["kind"] == "train"}
    assert [1, "fits", "oom", "memory"] == [
        code,
        outcomes[largest]["outcome"],
        outcomes[largest + 1]["outcome"],
        case["bounded_by"],
    ]
    assert "OutOfMemoryError: CUDA out of memory" in outcomes[largest + 1]["detail"]
    assert case["memory_limit_bytes"] == int(0.9 * GIB)
    assert "never locked on simulated NVIDIA H100" in output


def test_profile_of_a_simulated_gpu_says_so(worlds: Worlds, folder: Path) -> None:
    """Its device is marked in the lock, which has no speed and no learning rate; a run warns."""
    code, output, _ = run(worlds, folder, "--gpu-profile-update")
    (profile,) = read_lock(folder / "profiles" / "gpu-profile.lock")
    assert (0, "simulated NVIDIA H100 80GB HBM3", None, None) == (
        code,
        profile.device.name,
        profile.samples_per_second,
        profile.learning_rate,
    )
    assert profile.lr_refusal == "a simulated GPU computes no loss"
    assert "this GPU is simulated" in output


def test_warm_run_takes_two_probes(worlds: Worlds, folder: Path) -> None:
    """With a lock, the run tries B and B + 1 alone, and passes."""
    _, _, cold = run(worlds, folder, "--gpu-profile-update")
    code, _, warm = run(worlds, folder)
    largest = cold["max_batch_size"]
    assert (0, [largest, largest + 1]) == (
        code,
        sorted(probe["batch_size"] for probe in warm["probes"]),
    )


def test_regression_fails(worlds: Worlds, folder: Path) -> None:
    """An activation that keeps its input makes the batch smaller, and the run fails."""
    run(worlds, folder, "--gpu-profile-update")
    (folder / "net.py").write_text(NET.replace("nn.ReLU(inplace=True)", "nn.GELU()"))
    code, output, case = run(worlds, folder)
    assert (1, "failed") == (code, case["status"])
    assert f"max batch {case['max_batch_size']} (-" in output


def test_foreign_memory_is_named_and_nothing_is_measured(worlds: Worlds, folder: Path) -> None:
    """A GPU that others fill is trouble with the machine: an error of the test, no regression."""
    code, output, case = run(
        worlds, folder, "--gpu-profile-wait", "0", foreign_bytes=81008 * MIB - 700 * MIB
    )
    assert (1, "error", None) == (code, case["status"], case["max_batch_size"])
    assert "is busy" in output
