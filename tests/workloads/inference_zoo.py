"""Workloads whose inference differs from their training: its loaders, its batch, what it keeps."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

# A sample takes 64 KiB at the input, and a quarter of a MiB behind the first layer.
_FEATURES = 1 << 14


class Rows(Dataset[Any]):
    """Samples of zeros."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.zeros(_FEATURES)


class Data(pl.LightningDataModule):
    """Trains, tests and predicts on loaders of its own; its predict batch has its own name."""

    def __init__(self, length: int = 4096) -> None:
        super().__init__()
        self.batch_size, self.predict_batch_size = 1, 1
        self.length = length
        self.predicts: Rows | None = None

    def setup(self, stage: str) -> None:
        """Make the data of predict, for predict alone."""
        if stage == "predict":
            self.predicts = Rows(self.length)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return 64 samples."""
        return DataLoader(Rows(64), batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return all samples."""
        return DataLoader(Rows(self.length), batch_size=self.batch_size)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return all samples in batches of their own size."""
        assert self.predicts is not None, "set up for predict"
        return DataLoader(self.predicts, batch_size=self.predict_batch_size)


class Net(pl.LightningModule):
    """Widens each sample for a moment, in inference more than in training."""

    def __init__(self, *, keeps: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.keeps = keeps
        self.kept: list[torch.Tensor] = []

    def training_step(self, batch: torch.Tensor, _batch_idx: int) -> torch.Tensor:
        """Return a loss."""
        return (batch * self.scale).mean()

    def test_step(self, batch: torch.Tensor, _batch_idx: int) -> None:  # noqa: PT019 - no fixture
        """Widen twice, without gradients."""
        assert not torch.is_grad_enabled()
        if self.keeps:
            self.kept.append((batch * self.scale).clone())
        torch.cat([batch * self.scale] * 2)

    def predict_step(self, batch: torch.Tensor, _batch_idx: int) -> torch.Tensor:
        """Widen four times, in inference mode."""
        assert torch.is_inference_mode_enabled()
        return torch.cat([batch * self.scale] * 4)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Use SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Untested(pl.LightningModule):
    """Has no test_step."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def training_step(self, batch: torch.Tensor, _batch_idx: int) -> torch.Tensor:
        """Return a loss."""
        return (batch * self.scale).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Use SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)
