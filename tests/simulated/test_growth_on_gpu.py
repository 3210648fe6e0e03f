"""Memory that grows within an epoch, on a simulated GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simulated_runs import MATRIX, make_project, run

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

SYNTHETIC = "harness.synthetic.SyntheticImages, init_args: "
SYNTHETIC += '{resolution: "${resolution}", num_classes: 10}'
KEEPS = """
import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

class Data(pl.LightningDataModule):
    def __init__(self, batch_size=2):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.rand(1000, 16)), batch_size=self.batch_size)

class Keeps(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.kept, self.lr = torch.nn.Linear(16, 1 << 18), [], 1e-3

    def training_step(self, batch, _):
        wide = self.layer(batch[0])
        self.kept.append(wide[:, : 1 << 15].clone().detach())
        return wide.mean()

    def on_train_epoch_end(self):
        self.kept.clear()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)
"""


def test_largest_batch_has_room_for_what_its_epoch_keeps(worlds: Worlds) -> None:
    """128 KiB of each of 1000 samples stay until the epoch ends, and are given back by then."""
    matrix = MATRIX.replace("net.Net", "net.Keeps").replace(SYNTHETIC, "net.Data")
    matrix += "lr_range: {when: never}\n"
    matrix = matrix.replace("    loss: {class_path: torch.nn.CrossEntropyLoss}\n", "")
    folder = make_project(worlds.folder / "project", matrix, KEEPS)
    _, _, case = run(worlds, folder)
    outcomes = {probe["batch_size"]: probe["outcome"] for probe in case["probes"]}
    largest = case["max_batch_size"]
    growth = [probe["growth"] for probe in case["probes"] if probe["batch_size"] == largest][-1]
    assert ("memory", "oom", True) == (
        case["bounded_by"],
        outcomes[largest + 1],
        growth["given_back"],
    )
    assert growth["bytes_per_step"] > 100 << 10
