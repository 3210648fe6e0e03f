"""Carries a model from the user's process to its probes, and gives it data and a loss.

Runs in the user's process, which saves the model, and in the zygote, which loads it. Memory alone
is measured so: nothing is learned from noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import torch
from torch.utils.data import Dataset

from harness.workload.keras_models import on_device

_NUM_SAMPLES = 1 << 20  # as in `harness.synthetic`: it never bounds the batch size


def save_model(model: Any, path: str, pickle_module: Any) -> None:
    """Write a whole model, with the parts of its class that pickle finds by name left out."""
    torch.save(model, path, pickle_module=pickle_module)


def load_model(path: str, *, keras: bool) -> Any:
    """Return the model that `save_model` wrote, on the CPU.

    The file is the caller's own, made a moment ago; it is code as much as data.

    keras: whether it is a model of Keras, whose import would otherwise be pickle's, too late to
    choose a device.
    """
    if keras:
        import_module("keras")
    with on_device("cpu"):
        return torch.load(path, map_location="cpu", weights_only=False)


class Noise(Dataset[tuple[torch.Tensor, int]]):
    """Noise of one shape, float32, each with a target that nothing looks at."""

    synthetic = True

    def __init__(self, shape: list[int]) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return _NUM_SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        return torch.rand(self.shape, generator=generator), 0


class MeanSquare:
    """The mean of the squares of all outputs: a loss that any model has, and that reaches all."""

    def __call__(self, output: Any, _target: Any) -> torch.Tensor:
        """Return the loss; the target says nothing about outputs of any kind."""
        parts = [part for part in _tensors(output) if part.is_floating_point()]
        count = sum(math.prod(part.shape) for part in parts)
        return torch.stack([part.float().square().sum() for part in parts]).sum() / max(1, count)


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for part in output.values():
            yield from _tensors(part)
    elif isinstance(output, (list, tuple)):
        for part in output:
            yield from _tensors(part)
