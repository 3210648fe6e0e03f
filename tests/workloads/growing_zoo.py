"""Workloads whose memory grows while they train or validate, and a sampler of groups."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader
from zoo import Batch, Net, Numbers

KIB = 1 << 10


class Keeps(Net):
    """Keeps some KiB of each sample until the training epoch ends, and takes 256 KiB in a step."""

    def __init__(self, kib: int = 32) -> None:
        super().__init__(64)
        self.kib = kib
        self.kept: list[torch.Tensor] = []

    def keep(self, batch: Batch) -> None:
        """Keep something of each sample."""
        self.kept.append(torch.ones(len(batch[0]), self.kib * KIB // 4))

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Keep something, and take more for a moment."""
        torch.ones(len(batch[0]), 256 * KIB // 4)
        self.keep(batch)
        return self.loss(batch)

    def on_train_epoch_end(self) -> None:
        """Free it."""
        self.kept.clear()


class Leaks(Keeps):
    """Never frees what it keeps."""

    def on_train_epoch_end(self) -> None:
        """Free nothing."""


class FillsQueue(Keeps):
    """Keeps the last ten batches, as a queue of negative samples does."""

    def keep(self, batch: Batch) -> None:
        """Keep the batch, and drop an older one."""
        super().keep(batch)
        del self.kept[:-10]

    def on_train_epoch_end(self) -> None:
        """Free nothing."""


class KeepsInValidation(Keeps):
    """Keeps what it has validated until validation ends."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Keep nothing."""
        return self.loss(batch)

    def validation_step(self, batch: Batch, _batch_idx: int) -> None:
        """Keep something."""
        self.keep(batch)

    def on_validation_epoch_end(self) -> None:
        """Free it."""
        self.kept.clear()


class Sixths(Numbers):
    """Draws batches of six groups: their size must be a multiple of 6."""

    def train_dataloader(self) -> Any:
        """Return the loader; raise for any other size."""
        if self.batch_size % 6:
            raise ValueError(f"{self.batch_size} samples are no six groups")
        order = range(len(self.train))  # type: ignore[arg-type] # it has a length
        return DataLoader(
            self.train, batch_sampler=BatchSampler(order, self.batch_size, drop_last=True)
        )
