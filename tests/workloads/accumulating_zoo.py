"""Workloads that read the accumulation, or set it. Probes import them by their class path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo import Batch, Net

if TYPE_CHECKING:
    import torch


class Telling(Net):
    """Fails at its seventh batch, with what its Trainer tells then."""

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of the first six batches."""
        if batch_idx == 6:
            told = self.trainer.accumulate_grad_batches, self.trainer.estimated_stepping_batches
            raise ValueError(f"{told}, after {self.trainer.global_step} steps")
        return super().training_step(batch, batch_idx)


class Accumulates(Net):
    """Sets the accumulation itself."""

    def on_train_start(self) -> None:
        """Set another number."""
        self.trainer.accumulate_grad_batches = 4


class Manual(Net):
    """Optimizes by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
