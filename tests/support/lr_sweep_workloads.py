"""Sweeps of the learning rate in this process, and the workloads that they train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
import zoo
from projects import MIB, workload
from torch import nn

from harness.probe_tasks.lr_sweep import sweep
from harness.workload.build import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.protocol.case import WorkloadSpec
    from harness.protocol.messages import SweepRequest, TellPhase

RATES = (1e-4, 1e-3, 1e-2)


def ignore(_what: object) -> None:
    """Ignore a phase, or a number of steps."""


def here(name: str) -> str:
    """Return the class path of something in this file."""
    return f"{__name__}.{name}"


def run(
    module: str | WorkloadSpec,
    data: str | None = "zoo.Numbers",
    *,
    rates: Sequence[float] = RATES,
    seed: int = 0,
    batch_size: int = 8,
    learning_rate: float | None = None,
    fixed_groups: Sequence[int] = (),
    trial: bool = False,
    ceiling: float | None = None,
    whole_epochs: bool = False,
    trainer: dict[str, Any] | None = None,
    tell: TellPhase = ignore,
    **more: Any,
) -> dict[str, Any]:
    """Sweep, or run a trial, in this process; such a probe has no limit on its memory."""
    request: SweepRequest = {
        "task": "lr_range",
        "bound": {"accelerator": "cpu", "budget_bytes": 64 * MIB},
        "workload": None,
        "trainer": trainer or {},
        "batch_size": batch_size,
        "learning_rates": list(rates),
        "seed": seed,
        "learning_rate": learning_rate,
        "fixed_groups": list(fixed_groups),
        "trial": trial,
        "ceiling": ceiling,
        "whole_epochs": whole_epochs,
    }
    spec = workload(module, data, **more) if isinstance(module, str) else module
    return {**sweep(build(spec), request, tell, ignore)}


class Small(zoo.Net):
    """The network of the zoo, 8 wide; keeps the learning rates and losses of its steps in order."""

    # On the class, because the sweep builds the module itself.
    used: list[tuple[float, ...]] = []  # noqa: RUF012 - shared with the test
    seen: list[float] = []  # noqa: RUF012 - likewise

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__(8, lr)
        Small.used.clear()
        Small.seen.clear()

    def training_step(self, batch: zoo.Batch, _batch_idx: int) -> Any:
        """Keep the loss of each batch."""
        loss = self.loss(batch)
        self.seen.append(loss.item())
        return loss

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the learning rates of each step: this hook runs just before the backward pass."""
        self.used.append(tuple(group["lr"] for group in optimizer.param_groups))


class KeepsLosses(Small):
    """Keeps the number of its losses in each epoch."""

    kept: list[int] = []  # noqa: RUF012 - shared with the test, as those of `Small`

    def on_train_epoch_start(self) -> None:
        """Begin an epoch."""
        if self.trainer.current_epoch == 0:
            self.kept.clear()
        self.kept.append(0)

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> Any:
        """Keep one more."""
        self.kept[-1] += 1
        return super().training_step(batch, batch_idx)


class SetsAccumulation(Small):
    """Accumulates 4 batches, which it tells the Trainer itself."""

    def on_train_start(self) -> None:
        """Set it."""
        self.trainer.accumulate_grad_batches = 4


class Warm(Small):
    """Two groups a factor of 10 apart, and a schedule that warms up."""

    configure_optimizers = zoo.Scheduled.configure_optimizers


class Explodes(Small):
    """Its loss is NaN at the third step."""

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> Any:
        """Return NaN at the third step."""
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if batch_idx == 2 else loss


class Raises(Small):
    """It raises from the fourth batch on, in the forward pass, as checks of NaN do."""

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> Any:
        """Raise after three steps."""
        if batch_idx >= 3:
            raise ValueError("loss is not finite")
        return super().training_step(batch, batch_idx)


class RaisesAtOnce(Small):
    """It raises in the first step, whatever the rate."""

    def training_step(self, _batch: zoo.Batch, _batch_idx: int) -> Any:
        """Raise."""
        raise ValueError("no such layer")


class Diverges(Small):
    """Its loss rises a hundredfold after a third of 60 steps."""

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> Any:
        """Multiply the later losses."""
        loss = super().training_step(batch, batch_idx)
        return loss * (100 if batch_idx >= 20 else 1)


class Climbs(Small):
    """Its loss rises by 1 with each step, from 1."""

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> Any:
        """Raise it."""
        loss = super().training_step(batch, batch_idx)
        return loss * 0 + batch_idx + 1


class SkipsBatches(Small):
    """Returns None for every second batch."""

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> Any:
        """Skip."""
        loss = super().training_step(batch, batch_idx)
        return loss if batch_idx % 2 else None


class NeverTrains(Small):
    """Returns None for every batch."""

    def training_step(self, _batch: zoo.Batch, _batch_idx: int) -> Any:
        """Skip."""
        return None


class ReturnsDict(Small):
    """Returns its loss among other things."""

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> Any:
        """Return a dict."""
        return {"other": torch.ones(3), "loss": super().training_step(batch, batch_idx)}


class SetsItsRate(Small):
    """Sets its learning rate in a hook, as a hand-made schedule does."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the learning rate."""
        for group in optimizer.param_groups:
            group["lr"] = 0.5


class NoRate(Small):
    """Has an optimizer without a learning rate of its own, as Adafactor by default."""

    def configure_optimizers(self) -> Any:
        """Leave the learning rate out."""
        optimizer = super().configure_optimizers()
        for group in optimizer.param_groups:
            group["lr"] = None
        return optimizer


class StopsItself(Small):
    """Ends its training after the first batch."""

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop."""
        self.trainer.should_stop = True


class Configured(Small):
    """Has callbacks that stop, save, and watch the learning rate; uses its logger."""

    def configure_callbacks(self) -> Any:
        """Return the callbacks."""
        callbacks = pl.callbacks
        return [
            callbacks.EarlyStopping("loss"),
            callbacks.ModelCheckpoint(),
            callbacks.LearningRateMonitor(),
        ]

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> Any:
        """Log by hand."""
        logger: Any = self.logger
        logger.experiment.add_scalar("loss", 1.0, batch_idx)
        return super().training_step(batch, batch_idx)


class Fails(Small):
    """Raises an exception that cannot be shown."""

    def training_step(self, _batch: zoo.Batch, _batch_idx: int) -> Any:
        """Raise."""
        raise UnspeakableError


class UnspeakableError(Exception):
    """Its message raises as well."""

    def __str__(self) -> str:
        raise ValueError


class Keeper(pl.Callback):
    """A user's callback, with an argument that is built from a spec."""

    # On the class, because the Trainer builds the callback.
    seen: list[float] = []  # noqa: RUF012 - shared with the test

    def __init__(self, value: float) -> None:
        self.value = value

    def on_train_batch_end(self, *_: Any) -> None:
        """Keep the value."""
        self.seen.append(self.value)


class Digits(nn.Sequential):
    """A plain model of 8 x 8 digits."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def real_digits() -> torch.utils.data.Dataset[Any]:
    """Return the training images of the reference workloads, 8 x 8."""
    from profiles.workloads import Digits as Reference  # noqa: PLC0415 - scikit-learn

    data = Reference(resolution=8)
    data.setup("fit")
    return data.train


class BreaksLater(zoo.Numbers):
    """Its loader raises from the 33rd sample on."""

    def train_dataloader(self) -> Any:
        """Return a loader of samples that end in an error."""
        return torch.utils.data.DataLoader(_Broken(), batch_size=self.batch_size)


class _Broken(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 4096

    def __getitem__(self, index: int) -> Any:
        if index >= 32:
            raise OSError("the disk is gone")
        return torch.zeros(16), 0
