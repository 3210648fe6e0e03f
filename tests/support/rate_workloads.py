"""Workloads whose optimizers and schedules make something of their own of a learning rate."""

from __future__ import annotations

from typing import Any

import torch
from lr_sweep_workloads import Small
from projects import MIB, workload
from torch import nn
from torch.optim import lr_scheduler

from harness.probe_tasks.group_rates import group_rates
from harness.workload.build import build


def here(name: str) -> str:
    """Return the class path of something in this file."""
    return f"{__name__}.{name}"


def read(
    module: str,
    data: str | None = "zoo.Numbers",
    *,
    values: tuple[float, ...] = (),
    batch_size: int = 64,
    **more: Any,
) -> dict[str, Any]:
    """Read the rates of an optimizer's groups in this process."""
    spec = workload(module, data, **more)
    return {
        **group_rates(
            build(spec),
            {
                "task": "rates",
                "bound": {"accelerator": "cpu", "budget_bytes": 64 * MIB},
                "workload": None,
                "trainer": {},
                "batch_size": batch_size,
                "learning_rates": list(values),
            },
            lambda _phase: None,
        )
    }


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
    """The body keeps a rate of its own, whatever the attribute is."""

    def configure_optimizers(self) -> Any:
        """Make two groups."""
        groups = [
            {"params": self.layers[0].parameters(), "lr": 0.5},
            {"params": self.layers[2].parameters(), "lr": self.lr / 2},
        ]
        return torch.optim.SGD(groups)


class PerBatch(Small):
    """The rate is for 256 samples, as in the linear scaling rule."""

    def configure_optimizers(self) -> Any:
        """Scale the rate by the batch."""
        size = self.trainer.datamodule.batch_size  # type: ignore[attr-defined] # it has one
        return torch.optim.SGD(self.parameters(), lr=self.lr * size / 256)


class InHparams(Small):
    """Keeps its rate in its hyperparameters alone."""

    def __init__(self) -> None:
        super().__init__()
        del self.lr
        self.save_hyperparameters({"learning_rate": 1e-3})

    def configure_optimizers(self) -> Any:
        """Halve the rate."""
        return torch.optim.SGD(self.parameters(), lr=self.hparams["learning_rate"] / 2)


class Unset(Small):
    """Has no rate until it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.lr: Any = None

    def configure_optimizers(self) -> Any:
        """Leave the rate to the optimizer where there is none."""
        options = {} if self.lr is None else {"lr": self.lr}
        return torch.optim.AdamW(self.parameters(), **options)


class EarlyOptimizer(Small):
    """Makes its optimizer while it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.made = torch.optim.SGD(self.parameters(), lr=self.lr)

    def configure_optimizers(self) -> Any:
        """Return what is made."""
        return self.made


class OnlyOnce(Head):
    """Configures its optimizer once, and not again."""

    configured = False

    def configure_optimizers(self) -> Any:
        """Refuse a second call."""
        assert not self.configured
        self.configured = True
        return super().configure_optimizers()


class NoAttribute(Small):
    """Has its rate in the code."""

    def __init__(self) -> None:
        super().__init__()
        del self.lr

    def configure_optimizers(self) -> Any:
        """Use a constant."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class OneCycle(Small):
    """A cycle of three steps up to the rate, which is then over."""

    interval = "step"

    def configure_optimizers(self) -> Any:
        """Make the optimizer and its schedule."""
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        schedule = lr_scheduler.OneCycleLR(optimizer, max_lr=self.lr, total_steps=3)
        return [optimizer], [{"scheduler": schedule, "interval": self.interval}]


class Cyclic(Small):
    """Goes up to the rate and down to a tenth of it."""

    def configure_optimizers(self) -> Any:
        """Make the optimizer and its schedule."""
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return [optimizer], [lr_scheduler.CyclicLR(optimizer, self.lr / 10, self.lr)]


class Asks(Small):
    """Asks its schedule, a warm-up from a half, for the rate in each step, and keeps it."""

    told: list[Any] = []  # noqa: RUF012 - shared with the test

    def configure_optimizers(self) -> Any:
        """Make the optimizer and its schedule."""
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        schedule = lr_scheduler.LinearLR(optimizer, 0.5, total_iters=2)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Ask both ways."""
        config = self.trainer.lr_scheduler_configs[0]
        schedule: Any = self.lr_schedulers()
        assert config.scheduler is schedule
        self.told.append(schedule.get_last_lr()[0])
        return super().training_step(batch, batch_idx)


class StepsByHand(OneCycle):
    """Steps its schedule by itself, in the middle of a step."""

    interval = "epoch"

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Step."""
        schedule: Any = self.lr_schedulers()
        schedule.step()
        return super().training_step(batch, batch_idx)


class HoldsSchedules(Small):
    """Keeps a sequence of schedules to itself, and steps it."""

    def configure_optimizers(self) -> Any:
        """Make the optimizer, and the schedules on the side."""
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        parts: list[Any] = [
            lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
            lr_scheduler.CosineAnnealingLR(optimizer, 10),
        ]
        self.schedules = [lr_scheduler.SequentialLR(optimizer, parts, [2])]
        return optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Step."""
        self.schedules[0].step()
        return super().training_step(batch, batch_idx)


class Plateau(Small):
    """Lowers its rate on a plateau of a validation loss, which a sweep never has."""

    def configure_optimizers(self) -> Any:
        """Make the optimizer and its schedule."""
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        schedule = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        config = {"scheduler": schedule, "monitor": "loss", "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": config}


class AddsGroup(Small):
    """Trains its head alone until its first epoch begins, then the body at a tenth of the rate."""

    def configure_optimizers(self) -> Any:
        """Train the head alone."""
        return torch.optim.SGD(self.layers[2].parameters(), lr=self.lr)

    def on_train_epoch_start(self) -> None:
        """Add the body."""
        optimizer: Any = self.optimizers()
        rate = optimizer.param_groups[0]["lr"]
        optimizer.add_param_group({"params": self.layers[0].parameters(), "lr": rate / 10})


class Wrapper(torch.optim.Optimizer):
    """An optimizer around another one that never calls the constructor of its base."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner
        self.param_groups, self.defaults, self.state = (
            inner.param_groups,
            inner.defaults,
            inner.state,
        )

    def step(self, closure: Any = None) -> Any:
        """Step the other one."""
        return self.inner.step(closure)


class Wrapped(Small):
    """Has an optimizer without hooks."""

    def configure_optimizers(self) -> Any:
        """Wrap."""
        return Wrapper(torch.optim.SGD(self.parameters(), lr=self.lr))


class TensorRate(Small):
    """Has its rate in a tensor, as optimizers that are compiled need it."""

    def configure_optimizers(self) -> Any:
        """Use a tensor."""
        rate = nn.Parameter(torch.tensor(self.lr), requires_grad=False).data
        return torch.optim.SGD(self.parameters(), lr=rate)
