"""Gives a bare model data and a loss: memory alone is measured, and nothing learned from noise.

Runs in the zygote and its probes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import Dataset

_NUM_SAMPLES = 1 << 20  # as in `harness.synthetic`: it never bounds the batch size


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
