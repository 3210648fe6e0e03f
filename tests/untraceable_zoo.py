"""Workloads whose memory does not follow from shapes alone."""

from __future__ import annotations

import torch

from zoo import Batch, Net


class Masked(Net):
    """Selects samples by a mask."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """How many there are depends on the data."""
        inputs, labels = batch
        return super().loss((inputs[labels > 0], labels[labels > 0]))


class Counted(Net):
    """Makes a size of a tensor's values."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Add noise in the shape of a count."""
        return super().loss(batch) + torch.randn(int(batch[1].sum())).sum()


class Compiled(Net):
    """Compiles its layers."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Call what torch.compile makes of them."""
        inputs, labels = batch
        return torch.nn.functional.cross_entropy(torch.compile(self.layers)(inputs), labels)


class Synchronized(Net):
    """Needs a GPU to be there."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Wait for it."""
        torch.cuda.synchronize()
        return super().loss(batch)


class Renamed(Net):
    """Is wrong, and not untraceable."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Raise AttributeError."""
        return super().loss(batch.inputs)  # type: ignore[attr-defined] # that is its fault
