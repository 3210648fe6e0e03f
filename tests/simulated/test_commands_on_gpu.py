"""A command on a simulated GPU, beside a step function that trains the same network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from simulated_runs import PYTEST, make_project, report_of

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

PROGRAM = Path(__file__).parents[1] / "programs" / "plain_loop.py"
MATRIX = f"""
version: 1
matrix: {{model: [command, step], gpu: [h100-as-256MiB], resolution: [1]}}
models:
  command: {{command: "{sys.executable} {PROGRAM} --batch-size ${{batch_size}}"}}
  step: {{training: {{class_path: net.Training}}}}
gpus:
  h100-as-256MiB: {{name: NVIDIA H100 80GB HBM3, budget: 256MiB}}
search: {{round_to: 1024, min_batch_size: 8192, max_batch_size: 16384, steps_per_trial: 2}}
lr_range: {{when: never}}
"""
NET = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Training:
    def __init__(self, batch_size, device):
        inputs = torch.randn(65536, 16)
        data = TensorDataset(inputs, (inputs[:, 0] > 0).long())
        self.device = device
        self.model = nn.Sequential(nn.Linear(16, 1024), nn.GELU(), nn.Linear(1024, 2)).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.loader = iter(DataLoader(data, batch_size, shuffle=True))

    def step(self):
        batch, labels = next(self.loader)
        loss = nn.functional.cross_entropy(
            self.model(batch.to(self.device)), labels.to(self.device)
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss
"""


def test_prediction_of_a_command_is_that_of_the_same_training(
    tmp_path: Path, worlds: Worlds
) -> None:
    """Each probe of the same size has the same peak, so the largest batch is the same."""
    assert worlds is not None  # it skips where no GPU can be simulated
    folder = make_project(tmp_path / "project", MATRIX, NET)
    done = subprocess.run(
        [*PYTEST, "--gpu-profile-predict"], cwd=folder, check=False, capture_output=True, text=True
    )
    command, step = (
        (case["max_batch_size"], case["bounded_by"], case["peak_memory_bytes"])
        for case in report_of(folder)
    )
    assert command == step, done.stdout
    assert "memory" == command[1], done.stdout
    assert "what holds the memory is not named" in done.stdout
