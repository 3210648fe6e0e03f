"""AlexNet-, ResNet- and ViT-class image classifiers, scaled down until a CPU trains them in CI.

Each follows the shape of its paper: Krizhevsky et al. 2012, He et al. 2016 (basic blocks,
pre-pooling stages of doubling width), Dosovitskiy et al. 2021 (patches, class token, pre-norm
encoder). Input: float32 [batch, 1, resolution, resolution]; output: logits [batch, 10].
"""

from __future__ import annotations

import torch
from torch import nn

_NUM_CLASSES = 10


class AlexNet(nn.Sequential):
    """Five convolutions, overlapping max pooling, dropout before the fully connected layers."""

    def __init__(self, resolution: int, width: int = 8) -> None:
        features = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(width, 2 * width, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * width, 2 * width, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        side = -(-resolution // 8)
        super().__init__(
            features,
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(2 * width * side * side, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(128, _NUM_CLASSES),
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalization and a shortcut.

    The shortcut is a projection where shapes differ.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map [batch, in_channels, n, n] to [batch, out_channels, n / stride, n / stride]."""
        return torch.relu(self.body(images) + self.shortcut(images))


class ResNet(nn.Sequential):
    """Three stages of one basic block each; the width doubles as the side halves."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            BasicBlock(width, width, 1),
            BasicBlock(width, 2 * width, 2),
            BasicBlock(2 * width, 4 * width, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, _NUM_CLASSES),
        )


class ViT(nn.Module):
    """A vision transformer with learned positions and a class token."""

    def __init__(
        self, resolution: int, patch: int = 4, width: int = 32, depth: int = 3, num_heads: int = 4
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 1 + (resolution // patch) ** 2, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width,
            num_heads,
            4 * width,
            dropout=0.1,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, _NUM_CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map [batch, 1, resolution, resolution] to logits [batch, 10]."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = (
            torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1) + self.positions
        )
        logits: torch.Tensor = self.head(self.encoder(tokens)[:, 0])
        return logits
