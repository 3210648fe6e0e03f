"""Plain modules that the exactness benchmark trains beside the reference workloads."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


class Mlp(nn.Sequential):
    """Four hidden layers on flattened images; float32 [batch, 3, resolution, resolution] to logits [batch, 10]."""

    def __init__(self, resolution: int, width: int = 512) -> None:
        widths = [3 * resolution * resolution, width, width, width, width]
        hidden = [
            part
            for before, after in pairwise(widths)
            for part in (nn.Linear(before, after), nn.GELU(), nn.LayerNorm(after))
        ]
        super().__init__(nn.Flatten(), *hidden, nn.Linear(width, 10))


class RowLstm(nn.Module):
    """An LSTM that reads an image row by row; float32 [batch, 1, side, side] to logits [batch, 10]."""

    def __init__(self, side: int, width: int = 64) -> None:
        super().__init__()
        self.lstm = nn.LSTM(side, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify by the state after the last row."""
        states, _ = self.lstm(images.squeeze(1))
        logits: torch.Tensor = self.head(states[:, -1])
        return logits
