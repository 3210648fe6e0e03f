"""Trainings of several phases: a frozen backbone, which is thawed later."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

FEATURES, WIDTH = 16, 64


class Tuned(pl.LightningModule):
    """A backbone and a head.

    Args:
        phase: `frozen` trains the head alone, `unfrozen` all.

    """

    def __init__(self, phase: str = "unfrozen", lr: float = 0.01) -> None:
        super().__init__()
        self.batch_size, self.lr = 4, lr
        self.backbone = nn.Sequential(
            nn.Linear(FEATURES, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh()
        )
        self.head = nn.Linear(WIDTH, 2)
        self.set_phase(phase)

    def set_phase(self, phase: str) -> None:
        """Freeze or thaw the backbone."""
        self.backbone.requires_grad_(phase == "unfrozen")

    def training_step(self, batch: Any, _: int) -> Any:
        """Return the loss."""
        x, y = batch
        x = x.unsqueeze(1).expand(-1, 64, -1)
        y = y.unsqueeze(1).expand(-1, 64).reshape(-1)
        return nn.functional.cross_entropy(self.head(self.backbone(x)).flatten(0, 1), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer of what is trained."""
        trained = [one for one in self.parameters() if one.requires_grad]
        return torch.optim.Adam(trained, lr=self.lr)

    def train_dataloader(self) -> Any:
        """Return the loader."""
        x = torch.randn(8192, FEATURES)
        return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), self.batch_size)


class ThawsByHook(Tuned):
    """A module that thaws its backbone itself, in its third epoch."""

    def __init__(self) -> None:
        super().__init__("frozen")
        self.begun: list[int] = []

    def on_train_epoch_start(self) -> None:
        """Thaw."""
        self.begun.append(self.current_epoch)
        if self.current_epoch == 2:
            self.set_phase("unfrozen")
            group = {"params": [*self.backbone.parameters()]}
            self.trainer.optimizers[0].add_param_group(group)
