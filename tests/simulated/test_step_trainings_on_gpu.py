"""A training with a loop of its own, predicted: beside the same training under Lightning."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from simulated_runs import make_project

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

MATRIX = """
version: 1
matrix: {model: [loop, lightning], gpu: [t4-as-1GiB], resolution: [32]}
models:
  loop: {training: {class_path: net.make_training}}
  lightning: {module: {class_path: net.Lit}}
gpus:
  t4-as-1GiB: {name: Tesla T4, budget: 1GiB}
"""
NET = """
from types import SimpleNamespace

import lightning, torch
from torch import nn
from torch.utils.data import DataLoader
from harness.synthetic import SyntheticImages

def net():
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )

def make_training(batch_size, device):
    model = net().to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.zeros(batch_size, 3, 32, 32)
    labels = torch.zeros(batch_size, dtype=torch.long)

    def step():
        x, y = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return SimpleNamespace(step=step, model=model, optimizer=optimizer)

class Lit(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model, self.batch_size = net(), 1

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())

    def train_dataloader(self):
        return DataLoader(SyntheticImages(32, 10), self.batch_size)
"""


def predicted(folder: Path, case: str) -> str:
    """Return what `gpu-profile predict` prints."""
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; raise SystemExit(main())", "predict", case],
        cwd=folder, check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def largest(text: str) -> int:
    """Return the largest batch of the one row of the table."""
    return int(text.split("  activations\n", 1)[1].splitlines()[1].split()[1])


def test_prediction_of_a_loop_is_that_of_lightnings_and_names_its_modules(
    tmp_path: Path, worlds: Worlds
) -> None:
    """The same network trains at the same largest batch."""
    assert worlds is not None  # it skips where no GPU can be simulated
    folder = make_project(tmp_path / "project", MATRIX, NET)
    loop, lightning = (
        predicted(folder, f"{model}-t4-as-1GiB-32") for model in ("loop", "lightning")
    )
    assert largest(lightning) == largest(loop)
    assert "activation of model." in loop
