"""Workloads whose steps take a known time, as if they waited for a device. Probes import them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import zoo

if TYPE_CHECKING:
    import torch

SLOW = Path("slow")
"""While this file is in the working directory, each step takes twice its time."""


class Constant(zoo.Net):
    """Takes the same time for a step of any size, so the largest batch is the fastest."""

    def __init__(self) -> None:
        super().__init__(8)

    def seconds(self, num_samples: int) -> float:
        """Return the time of a step."""
        del num_samples
        return 0.03

    def training_step(self, batch: zoo.Batch, _batch_idx: int) -> torch.Tensor:
        """Return the loss, after the time of the step."""
        time.sleep(self.seconds(len(batch[0])) * (2 if SLOW.exists() else 1))
        return self.loss(batch)


class Peaked(Constant):
    """Takes the same time for up to 4 samples, and more than in proportion for more."""

    def seconds(self, num_samples: int) -> float:
        """Return the time of a step."""
        return 0.03 if num_samples <= 4 else 0.01 * num_samples
