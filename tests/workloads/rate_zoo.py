"""Workloads whose `configure_optimizers` makes rates of its own of the learning rate."""

from __future__ import annotations

from typing import Any

import torch
import zoo


class Small(zoo.Net):
    """The network of the zoo, 32 wide."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__(32, lr)


class Head(Small):
    """The head learns ten times as fast as the body."""

    def configure_optimizers(self) -> Any:
        """Make two groups."""
        groups = [
            {"params": self.layers[0].parameters(), "lr": self.lr},
            {"params": self.layers[2].parameters(), "lr": 10 * self.lr},
        ]
        return torch.optim.AdamW(groups)


class FixedBody(Small):
    """The body keeps a rate of its own, larger than any that the head will have."""

    def configure_optimizers(self) -> Any:
        """Make two groups."""
        groups = [
            {"params": self.layers[0].parameters(), "lr": 1e-7},
            {"params": self.layers[2].parameters(), "lr": self.lr / 2},
        ]
        return torch.optim.AdamW(groups)


class PerBatch(Small):
    """The rate is for 256 samples, and keeps its value in the hyperparameters."""

    def __init__(self, learning_rate: float = 1e-3) -> None:
        super().__init__()
        del self.lr
        self.save_hyperparameters({"learning_rate": learning_rate})
        self.num_samples = 0

    def setup(self, stage: str) -> None:
        """Read the size of a batch."""
        del stage
        self.num_samples = self.trainer.datamodule.batch_size  # type: ignore[attr-defined] # it has

    def configure_optimizers(self) -> Any:
        """Scale the rate by the batch."""
        rate = self.hparams["learning_rate"] * self.num_samples / 256
        optimizer = torch.optim.AdamW(self.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)
        return [optimizer], [schedule]
