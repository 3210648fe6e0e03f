"""Workloads whose samples have one of several lengths, for buckets."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from harness import BucketBatchSampler

WIDTH = 64


class Reader(pl.LightningModule):
    """Trains a network on every token."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(50, WIDTH)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.ReLU(), torch.nn.Linear(4 * WIDTH, WIDTH)
        )

    def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
        """Return a loss."""
        loss: torch.Tensor = self.layers(self.words(batch)).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD, without a state."""
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Tokens(pl.LightningDataModule):
    """Loads texts of one length, by a sampler of the buckets that it is told.

    few: the texts shorter than 32 tokens; others are without end.
    """

    def __init__(self, length: int = 64, few: int = 4096) -> None:
        super().__init__()
        self.length = length
        self.batch_size = 1
        self.bucket_batch_sizes: dict[float, int] = {}
        self.number = few if length < 32 else 4096

    def setup(self, stage: str) -> None:
        """Make the texts; each data module of a probe is set up."""
        assert stage == "fit"
        self.texts = [torch.zeros(self.length, dtype=torch.long)] * self.number

    def train_dataloader(self) -> Any:
        """Return a loader that only a batch size by edge makes."""
        sizes = self.bucket_batch_sizes or {self.length: self.batch_size}
        sampler = BucketBatchSampler([self.length] * self.number, sizes)
        return DataLoader(self.texts, batch_sampler=sampler)  # type: ignore[arg-type] # a list will do


class NoShortTokens(Tokens):
    """Has no texts of fewer than 32 tokens, and says so."""

    def setup(self, stage: str) -> None:
        """Refuse short texts."""
        if self.length < 32:
            raise ValueError(f"no texts of {self.length} tokens")
        super().setup(stage)
