"""Workloads whose memory does not follow from shapes alone. Tests name lines of this file."""

from __future__ import annotations

import torch
from zoo import Batch, Net


class Masked(Net):
    """Selects samples by a mask."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Train on a number of samples that depends on the data."""
        inputs, labels = batch
        return super().loss((inputs[labels > 0], labels[labels > 0]))


class Counted(Net):
    """Computes a size from a tensor's values."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Add noise of that size."""
        return super().loss(batch) + torch.randn(int(batch[1].sum())).sum()


class Compiled(Net):
    """Compiles its layers."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Call the compiled layers."""
        inputs, labels = batch
        return torch.nn.functional.cross_entropy(torch.compile(self.layers)(inputs), labels)


class Synchronized(Net):
    """Needs a GPU in this machine."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Wait for the GPU."""
        torch.cuda.synchronize()
        return super().loss(batch)


class Renamed(Net):
    """Has a bug of its own, and could be traced without it."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Raise AttributeError."""
        return super().loss(batch.inputs)  # type: ignore[attr-defined] # this is its bug
