"""A Keras 3 model and data for it; imported only where Keras is installed."""

from __future__ import annotations

from typing import Any

import keras
import torch
from torch.utils.data import Dataset


def small_net(dropout: float = 0.5) -> Any:
    """Return a classifier of 8 x 8 images with layers that train otherwise than they infer."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(dropout),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Images with the channels last, as Keras has them, and a class each."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        return torch.rand((8, 8, 3), generator=generator), index % 2
