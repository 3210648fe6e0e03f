"""Trainings that are no LightningModules, with one habit each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAMPLES = 4096


class Loop:
    """A training with a loop of its own: batches that it draws, accumulation, a schedule."""

    made: Loop
    """The last one that this process made."""

    def __init__(
        self, batch_size: int, device: torch.device, *, width: int = 256, accumulate: int = 1
    ) -> None:
        Loop.made = self
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(_SAMPLES, 16, generator=generator)
        self.labels = (self.inputs[:, 0] > 0).long()
        self.batch_size, self.device, self.accumulate = batch_size, device, accumulate
        self.model = nn.Sequential(nn.Linear(16, width), nn.GELU(), nn.Linear(width, 2)).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.5)
        self.used: list[float] = []
        self.losses: list[float] = []
        self.validated: list[bool] = []
        self.optimizer.register_step_post_hook(
            lambda optimizer, *_: self.used.append(optimizer.param_groups[0]["lr"])
        )

    def step(self) -> torch.Tensor:
        """Train on some batches, and take a step."""
        total = torch.zeros(())
        for _ in range(self.accumulate):
            drawn = torch.randint(_SAMPLES, (self.batch_size,))
            inputs, labels = self.inputs[drawn].to(self.device), self.labels[drawn].to(self.device)
            loss = nn.functional.cross_entropy(self.model(inputs), labels) / self.accumulate
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            total += loss.detach().cpu()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.losses.append(total.item())
        return total

    def validate(self) -> None:
        """Note the mode, and whether a gradient would be kept."""
        self.validated.append(self.model.training and torch.is_grad_enabled())


class Silent(Loop):
    """Its step tells no loss."""

    def step(self) -> None:  # type: ignore[override]  # its habit
        """Take a step."""
        super().step()


class Counted(Loop):
    """It says how many samples it has."""

    num_samples = 5


class Table(Loop):
    """Its step tells one loss per sample."""

    def step(self) -> torch.Tensor:
        """Take a step."""
        super().step()
        return torch.zeros(2, 3)


class Worded(Loop):
    """Its step tells a word."""

    def step(self) -> Any:
        """Take a step."""
        super().step()
        return "done"


def closure(batch_size: int, device: torch.device, num_samples: int = 100) -> SimpleNamespace:
    """Return a step and nothing else; its loader gives full batches only, for ever."""
    inputs = torch.randn(num_samples, 16)
    data = TensorDataset(inputs, (inputs[:, 0] > 0).long())
    loader = DataLoader(data, batch_size=batch_size, shuffle=True, drop_last=True)

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    batches = endless()
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> float:
        inputs, labels = next(batches)
        loss = nn.functional.cross_entropy(model(inputs.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimizer.step()
        return loss.item()

    return SimpleNamespace(step=step)


def ending(batch_size: int, device: torch.device) -> SimpleNamespace:
    """Return a training whose data end after two steps."""
    losses = iter([torch.zeros(batch_size, device=device).sum()] * 2)
    return SimpleNamespace(step=lambda: next(losses))


def several(batch_size: int, device: torch.device) -> SimpleNamespace:
    """Return a training of two models with an optimizer each."""
    models = {name: nn.Linear(16, 1).to(device) for name in ("generator", "critic")}
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in models.values()]

    def step() -> float:
        for model, optimizer in zip(models.values(), optimizers, strict=True):
            optimizer.zero_grad()
            model(torch.randn(batch_size, 16, device=device)).mean().backward()
            optimizer.step()
        return 0.0

    return SimpleNamespace(step=step, model=models, optimizer=optimizers)


def stepless(batch_size: int, device: torch.device) -> nn.Module:
    """Return a model where a training is needed."""
    return nn.Linear(batch_size, 1).to(device)


def oddly_optimized(batch_size: int, device: torch.device) -> SimpleNamespace:
    """Return a training whose optimizer is a word."""
    del batch_size, device
    return SimpleNamespace(step=float, optimizer="adam")


def unsized(device: torch.device) -> SimpleNamespace:
    """Take no batch size."""
    del device
    return SimpleNamespace(step=float)


class Miscounted(Loop):
    """It says how many samples it has in a word."""

    num_samples = "many"
