"""Functions that train with a loop of their own, with one habit each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from collections.abc import Callable

_SAMPLES = 4096
steps: list[float] = []
"""The learning rate within each step of the last loop."""


def _data(num_samples: int = _SAMPLES) -> TensorDataset:
    inputs = torch.randn(num_samples, 16, generator=torch.Generator().manual_seed(0))
    return TensorDataset(inputs, (inputs[:, 0] > 0).long())


def _net(width: int = 64) -> nn.Module:
    return nn.Sequential(nn.Linear(16, width), nn.GELU(), nn.Linear(width, 2))


def _backward(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, share: float) -> None:
    loss = nn.functional.cross_entropy(model(inputs), labels) * share
    loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch


def plain(
    batch_size: int,
    width: int = 64,
    accumulate: int = 1,
    max_steps: int = 10**9,
    num_samples: int = _SAMPLES,
) -> Callable[[], None]:
    """Draw batches, accumulate, set the rate by hand in each step."""

    def train() -> None:
        steps.clear()
        inputs, labels = _data(num_samples).tensors
        model = _net(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer.register_step_post_hook(
            lambda optimizer, *_: steps.append(optimizer.param_groups[0]["lr"])
        )
        for step in range(max_steps):
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            for _ in range(accumulate):
                drawn = torch.randint(num_samples, (batch_size,))
                _backward(model, inputs[drawn], labels[drawn], 1 / accumulate)
            optimizer.step()
            optimizer.zero_grad()

    return train


def loading(batch_size: int, num_samples: int = 100) -> Callable[[], None]:
    """Go through a loader, pass after pass, until there has been a full batch."""

    def train() -> None:
        loader = DataLoader(_data(num_samples), batch_size, shuffle=True, drop_last=True)
        model = _net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        while True:
            for inputs, labels in loader:
                _backward(model, inputs, labels, 1.0)
                optimizer.step()
                optimizer.zero_grad()

    return train


def catching(batch_size: int) -> Callable[[], None]:
    """Pass over every exception of a step."""

    def train() -> None:
        model = _net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        while True:
            try:
                _backward(model, torch.randn(batch_size, 16), torch.zeros(batch_size).long(), 1.0)
                optimizer.step()
            except Exception:  # noqa: BLE001, S112 - its habit
                continue

    return train


def adversaries(batch_size: int, device: torch.device) -> Callable[[], None]:
    """Train two models in turn, with an optimizer each."""

    def train() -> None:
        models = [nn.Linear(16, 1).to(device) for _ in range(2)]
        optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in models]
        while True:
            for model, optimizer in zip(models, optimizers, strict=True):
                optimizer.zero_grad()
                model(torch.randn(batch_size, 16, device=device)).mean().backward()
                optimizer.step()

    return train


def stepless(batch_size: int) -> Callable[[], int]:
    """Return a function that trains nothing."""
    return lambda: batch_size


def failing(batch_size: int) -> Callable[[], None]:
    """Fail in the third step."""

    def train() -> None:
        model = _net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(9):
            _backward(model, torch.randn(batch_size, 16), torch.zeros(batch_size).long(), 1.0)
            optimizer.step()
            if step == 1:
                raise ValueError("the third step")

    return train
