"""Trainings whose code looks at values, as public training code does; they run on any GPU."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import isfinite, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

NUM_SAMPLES = 4096


class Data(pl.LightningDataModule):
    """Pictures of 16 pixels with labels, and tokens with their lengths."""

    def __init__(self, kind: str = "pictures", batch_size: int = 4) -> None:
        super().__init__()
        self.kind, self.batch_size = kind, batch_size

    def setup(self, stage: str) -> None:  # noqa: ARG002 - as Lightning calls it
        numbers = torch.arange(NUM_SAMPLES)
        labels = numbers % 10
        if self.kind == "pictures":
            self.data = TensorDataset(torch.rand(NUM_SAMPLES, 3, 16, 16), labels)
        else:
            lengths = 3 + numbers % 22
            tokens = (numbers[:, None] + torch.arange(24)) % 49 + 1
            inside = torch.arange(24) < lengths[:, None]
            self.data = TensorDataset(tokens * inside, lengths, labels)

    def train_dataloader(self) -> Any:
        return DataLoader(self.data, batch_size=self.batch_size)


class Base(pl.LightningModule):
    """A network and the step of a training; subclasses have both."""

    def __init__(self) -> None:
        super().__init__()
        self.make()

    def make(self) -> None:
        """Make a small classifier of pictures."""
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(768, 64), nn.ReLU(), nn.Linear(64, 10))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Checked(Base):
    """Raises for what is never so in a training, and compares labels with the number of classes."""

    def training_step(self, batch: Any, _: int) -> Any:
        x, y = batch
        out = self.net(x)
        if torch.isnan(out).any() or not isfinite(out).all():
            raise ValueError("the output is no number")
        assert (y >= 0).all() and y.max() < 10  # noqa: PT018 - as people write it
        loss = functional.cross_entropy(out, y)
        assert math.isfinite(loss.item())
        return loss


class Collapsed(Base):
    """Raises because of a value that it reads, whatever the value is."""

    def training_step(self, batch: Any, _: int) -> Any:
        x, y = batch
        loss = functional.cross_entropy(self.net(x), y)
        if loss.item() < 1e-9:
            raise ValueError("the loss has collapsed")
        return loss


class Wrong(Base):
    """Is wrong, and reads no value before."""

    def training_step(self, batch: Any, _: int) -> Any:
        return self.net(batch[0][:, :2]).mean()


class Packed(Base):
    """Sequences of the lengths that the batch's own tokens have, without their padding."""

    def make(self) -> None:
        self.embed, self.lstm = nn.Embedding(50, 32), nn.LSTM(32, 64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def training_step(self, batch: Any, _: int) -> Any:
        tokens, _, y = batch
        lengths = (tokens != 0).sum(1)
        tokens = tokens[:, : int(lengths.max())]
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return functional.cross_entropy(self.head(self.lstm(packed)[1][0][-1]), y)


class Foreground(Base):
    """Averages over the pixels that a mask takes: all of them, or none."""

    def training_step(self, batch: Any, _: int) -> Any:
        x, y = batch
        kept = x[x <= 0.5].square().mean()
        none = x[x > 0.5].sum()
        return functional.cross_entropy(self.net(x), y) + kept + none


class Lbfgs(Base):
    """A quasi-Newton method, which would end at once where each gradient is zero."""

    def training_step(self, batch: Any, _: int) -> Any:
        x, y = batch
        return functional.cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), max_iter=4)


class Metrics(Base):
    """Metrics of torchmetrics, which check what they are given."""

    def make(self) -> None:
        from torchmetrics import classification as c  # noqa: PLC0415

        super().make()
        self.metrics = nn.ModuleList(
            [
                c.MulticlassAccuracy(10),
                c.MulticlassAUROC(10, thresholds=20),
                c.MulticlassF1Score(10),
                c.MulticlassConfusionMatrix(10),
                c.MulticlassCalibrationError(10),
            ]
        )
        self.binary = nn.ModuleList([c.BinaryAccuracy(), c.BinaryAUROC(), c.BinaryF1Score()])

    def training_step(self, batch: Any, _: int) -> Any:
        x, y = batch
        out = self.net(x)
        for metric in self.metrics:
            metric(out.softmax(1), y)
        for metric in self.binary:
            metric(out[:, 0].sigmoid(), (y > 4).long())
        return functional.cross_entropy(out, y)
