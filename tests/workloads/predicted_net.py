"""A workload for predictions: tests copy it into a project and change lines of its text."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Middle(nn.Module):
    """Two layers with an activation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(256, 1024), nn.Linear(1024, 256)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Widen and narrow."""
        hidden = self.up(inputs).relu()
        narrowed: torch.Tensor = self.down(hidden)
        return narrowed


class Net(pl.LightningModule):
    """Three blocks in a row, between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 4
        self.first, self.last = nn.Linear(16, 256), nn.Linear(256, 2)
        self.blocks = nn.ModuleList(Middle() for _ in range(3))

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor], _batch_idx: int
    ) -> torch.Tensor:
        """Return the cross-entropy."""
        hidden = self.first(batch[0])
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return nn.functional.cross_entropy(self.last(hidden), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Use AdamW."""
        return torch.optim.AdamW(self.parameters())

    def train_dataloader(self) -> object:
        """Return a loader with enough data for every batch that fits."""
        data = TensorDataset(torch.zeros(60_000, 16), torch.zeros(60_000, dtype=torch.int64))
        return DataLoader(data, batch_size=self.batch_size, shuffle=True)
