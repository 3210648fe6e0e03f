"""Trainings whose memory at the peak can be counted by hand, and such as are hard to follow."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

WIDTH, HIDDEN, OUT = 8, 64, 4


class Mlp(pl.LightningModule):
    """Two layers with a nonlinearity between; the loss is the mean of squares."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 4
        self.first, self.act, self.last = self.layers()

    def layers(self) -> tuple[nn.Module, ...]:
        """Make the parts."""
        return nn.Linear(WIDTH, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, OUT)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map [batch, 8] to [batch, 4]."""
        outputs: torch.Tensor = self.last(self.act(self.first(inputs)))
        return outputs

    def training_step(self, batch: list[torch.Tensor], _batch_idx: int) -> torch.Tensor:
        """Return the mean of squares."""
        loss: torch.Tensor = self(batch[0]).square().mean()
        return loss

    def configure_optimizers(self) -> Any:
        """Use Adam."""
        return torch.optim.Adam([one for one in self.parameters() if one.requires_grad])

    def train_dataloader(self) -> object:
        """Return a loader of zeros."""
        return DataLoader(TensorDataset(torch.zeros(4096, WIDTH)), batch_size=self.batch_size)


class Frozen(Mlp):
    """Trains its last layer alone, as an adapter is."""

    def __init__(self) -> None:
        super().__init__()
        self.first.requires_grad_(requires_grad=False)


class Tied(Mlp):
    """Calls one layer twice, whose weights a second name has, too."""

    def layers(self) -> tuple[nn.Module, ...]:
        """Make square layers."""
        return nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)

    def __init__(self) -> None:
        super().__init__()
        first: Any = self.first
        last: Any = self.last
        last.weight = first.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Go through the first layer twice."""
        again: torch.Tensor = self.last(self.first(self.first(inputs)))
        return again


class Checkpointed(Mlp):
    """Computes the wide part again."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Keep the input of the wide part alone."""
        wide = checkpoint(lambda x: self.act(self.first(x)), inputs, use_reentrant=False)
        outputs: torch.Tensor = self.last(wide)
        return outputs


class Momentless(Mlp):
    """Has an optimizer without state."""

    def configure_optimizers(self) -> Any:
        """Use plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Fused(Mlp):
    """Has a fused optimizer."""

    def configure_optimizers(self) -> Any:
        """Use it."""
        return torch.optim.Adam(self.parameters(), fused=True)


class Compiled(Mlp):
    """Has a compiled layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first.compile(backend="aot_eager")


class Lazy(Mlp):
    """Has layers that get their shapes from the first batch."""

    def layers(self) -> tuple[nn.Module, ...]:
        """Make the parts."""
        return nn.LazyLinear(HIDDEN), nn.Tanh(), nn.LazyLinear(OUT)

    def configure_optimizers(self) -> Any:
        """Let a sample through before."""
        self(torch.zeros(1, WIDTH))
        return super().configure_optimizers()


class Quantized(Mlp):
    """Has weights of one byte in buffers, as quantized layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Bytes()


class Bytes(nn.Module):
    """A layer with such weights."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(HIDDEN, WIDTH, dtype=torch.int8))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Use the weights as floats."""
        weight: Any = self.weight
        return nn.functional.linear(inputs, weight.float())


class Convolution(Mlp):
    """One convolution of 3 x 3 on images of 6 x 6, with a bias."""

    def layers(self) -> tuple[nn.Module, ...]:
        """Make the parts."""
        return nn.Conv2d(1, OUT, 3), nn.Tanh(), nn.Flatten()

    def train_dataloader(self) -> object:
        """Return a loader of images of zeros."""
        return DataLoader(TensorDataset(torch.zeros(512, 1, 6, 6)), batch_size=self.batch_size)
