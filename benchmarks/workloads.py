"""Plain modules that the benchmarks train beside the reference workloads.

Images are float32 [batch, channels, height, width], and logits are [batch, classes].
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Mlp(nn.Sequential):
    """Four hidden layers on flattened images.

    Maps images [batch, 3, resolution, resolution] to logits [batch, 10].
    """

    def __init__(self, resolution: int, width: int = 512) -> None:
        widths = [3 * resolution * resolution, width, width, width, width]
        hidden = [
            part
            for before, after in pairwise(widths)
            for part in (nn.Linear(before, after), nn.GELU(), nn.LayerNorm(after))
        ]
        super().__init__(nn.Flatten(), *hidden, nn.Linear(width, 10))


class ChannelsLastCnn(nn.Sequential):
    """Convolutions in the memory format channels_last.

    Maps images [batch, 3, height, width] to logits [batch, 10].
    """

    def __init__(self, width: int = 32) -> None:
        hidden = [
            part
            for _ in range(3)
            for part in (nn.Conv2d(width, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        ]
        super().__init__(
            nn.Conv2d(3, width, 3),
            *hidden,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 10),
        )
        # torch's types lack this signature.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify."""
        hidden = images.to(memory_format=torch.channels_last)
        for layer in self:
            hidden = layer(hidden)
        return hidden


def timm_without_values(model_name: str) -> nn.Module:
    """Make a model of timm whose weights are whatever the memory holds: to draw them takes seconds.

    It is for simulated GPUs alone.
    """
    # Only one benchmark has timm, in an environment of its own.
    import timm  # type: ignore[import-not-found]  # noqa: PLC0415

    made: nn.Module
    try:
        with torch.device("meta"):
            made = timm.create_model(model_name)
        return made.to_empty(device="cpu")
    except (NotImplementedError, RuntimeError):  # its code reads values while it is built
        made = timm.create_model(model_name)
        return made


class ChannelsLastTimm(nn.Module):
    """A model of timm in the memory format channels_last, without values.

    Maps images [batch, 3, height, width] to logits [batch, 1000].
    """

    def __init__(self, model_name: str) -> None:
        super().__init__()
        self.model = timm_without_values(model_name).to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify."""
        logits: torch.Tensor = self.model(images.to(memory_format=torch.channels_last))
        return logits


class RowLstm(nn.Module):
    """An LSTM that reads an image row by row.

    Maps images [batch, 1, side, side] to logits [batch, 10].
    """

    def __init__(self, side: int, width: int = 64) -> None:
        super().__init__()
        self.lstm = nn.LSTM(side, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify by the state after the last row."""
        states, _ = self.lstm(images.squeeze(1))
        logits: torch.Tensor = self.head(states[:, -1])
        return logits


class RowGru(RowLstm):
    """A GRU in two directions that reads an image as `RowLstm` does."""

    def __init__(self, side: int, width: int = 64) -> None:
        super().__init__(side, width)
        # It returns a pair, as the LSTM does.
        self.lstm = nn.GRU(  # type: ignore[assignment]
            side, width, bidirectional=True, batch_first=True
        )
        self.head = nn.Linear(2 * width, 10)


class DropoutMlp(nn.Sequential):
    """Hidden layers with dropout on flattened images.

    Maps images [batch, 3, resolution, resolution] to logits [batch, 10].
    """

    def __init__(self, resolution: int, width: int = 1024) -> None:
        hidden = [
            part for _ in range(4) for part in (nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.3))
        ]
        super().__init__(
            nn.Flatten(),
            nn.Linear(3 * resolution * resolution, width),
            *hidden,
            nn.Linear(width, 10),
        )


class CheckpointedMlp(nn.Module):
    """Blocks whose activations are computed again in the backward pass.

    Maps images [batch, 3, resolution, resolution] to logits [batch, 10].
    """

    def __init__(self, resolution: int, width: int = 1024) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(3 * resolution * resolution, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(4)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify."""
        hidden = self.stem(images)
        for block in self.blocks:
            hidden = checkpoint(block, hidden, use_reentrant=False)
        logits: torch.Tensor = self.head(hidden)
        return logits


class Unet(nn.Module):
    """A U-Net of four levels, with transposed convolutions on the way up.

    Maps images [batch, 3, height, width] to logits [batch, 2, height, width]; the sides are
    multiples of 8.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [width << level for level in range(4)]
        self.down = nn.ModuleList(
            _two_convolutions(before, after) for before, after in pairwise([3, *widths])
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(after, before, 2, stride=2) for before, after in pairwise(widths)
        )
        self.merge = nn.ModuleList(_two_convolutions(2 * before, before) for before in widths[:-1])
        self.pool, self.head = nn.MaxPool2d(2), nn.Conv2d(width, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Segment."""
        hidden, kept = self.down[0](images), []
        for block in self.down[1:]:
            kept.append(hidden)
            hidden = block(self.pool(hidden))
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            hidden = merge(torch.cat([up(hidden), kept.pop()], dim=1))
        logits: torch.Tensor = self.head(hidden)
        return logits


def _two_convolutions(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
