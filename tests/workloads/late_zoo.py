"""Models that are made late: on the meta device, in a hook, or lazily."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WIDTH = 16


def net(*, device: str | None = None) -> nn.Sequential:
    """Make a small network."""
    layers = [nn.Linear(WIDTH, 64, device=device), nn.GELU(), nn.Linear(64, 2, device=device)]
    return nn.Sequential(*layers)


def materialise(model: nn.Module, device: Any) -> nn.Module:
    """Give a model of the meta device memory, and values."""
    model.to_empty(device=device)
    for part in model.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()  # type: ignore[operator]  # nn.Module types it as anything
    return model


class _Trains(pl.LightningModule):
    model: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.batch_size, self.lr = 1, 1e-2

    def training_step(self, batch: Any, _: int) -> Any:
        return nn.functional.cross_entropy(self.model(batch[0].to(self.dtype)).float(), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), self.lr)

    def train_dataloader(self) -> Any:
        inputs = torch.randn(2048, WIDTH, generator=torch.Generator().manual_seed(0))
        return DataLoader(TensorDataset(inputs, (inputs[:, 0] > 0).long()), self.batch_size)


class Materialised(_Trains):
    """It is laid out on the meta device, and gets its memory where Lightning asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = net(device="meta")

    def configure_model(self) -> None:
        """Give it memory, once."""
        if next(self.model.parameters()).is_meta:
            materialise(self.model, self.device)


class Configured(_Trains):
    """It has no model before Lightning asks for it."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width

    def configure_model(self) -> None:
        """Make the model, once."""
        if not hasattr(self, "model"):
            self.model = nn.Sequential(nn.Linear(WIDTH, self.width), nn.Linear(self.width, 2))


class LeftOnMeta(_Trains):
    """Nobody gives it memory."""

    def __init__(self) -> None:
        super().__init__()
        self.model = net(device="meta")


class Lazy(_Trains):
    """Its first layer has its shape from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.LazyLinear(64), nn.GELU(), nn.Linear(64, 2))


class MetaLoop:
    """A loop that lays its model out on the meta device."""

    def __init__(self, batch_size: int, device: torch.device, *, filled: bool = True) -> None:
        with torch.device("meta"):
            self.model = net()
        if filled:
            materialise(self.model, device)
        self.batch_size, self.device = batch_size, device
        self.optimizer = torch.optim.AdamW(self.model.parameters())

    def step(self) -> Any:
        """Train on noise."""
        inputs = torch.randn(self.batch_size, WIDTH, device=self.device)
        loss = self.model(inputs).pow(2).mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss
