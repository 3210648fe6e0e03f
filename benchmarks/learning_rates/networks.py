"""Networks that train in seconds on a CPU: for digits of 8 x 8 pixels, tables, and characters."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

_WIDTH = 32
_HEADS = 2
_BLOCKS = 2
_PATCH = 2
_PATCHES = 16


def perceptron(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    """Return a network with two hidden layers."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, outputs),
    )


def autoencoder(inputs: int) -> nn.Sequential:
    """Return a network that repeats its inputs through a layer of 8."""
    sizes = (inputs, 32, 8, 32)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], inputs))


class Convolutional(nn.Module):
    """Three convolutions and a head, with batch normalisation or without."""

    def __init__(self, outputs: int, *, normalised: bool, channels: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for after, stride in ((channels, 1), (2 * channels, 2), (2 * channels, 2)):
            layers.append(nn.Conv2d(before, after, 3, stride=stride, padding=1))
            if normalised:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.ReLU())
            before = after
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(4 * before, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of images [batch, 8, 8]."""
        logits: torch.Tensor = self.head(self.body(images[:, None]))
        return logits


class Block(nn.Module):
    """A block of a transformer that normalises before each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(_WIDTH)
        self.projections = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.joined = nn.Linear(_WIDTH, _WIDTH)
        self.norm = nn.LayerNorm(_WIDTH)
        self.perceptron = nn.Sequential(
            nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Linear(4 * _WIDTH, _WIDTH)
        )

    def forward(self, hidden: torch.Tensor, *, causal: bool) -> torch.Tensor:
        """Return the hidden states [batch, length, width] of the next block."""
        batch, length, width = hidden.shape
        projected = self.projections(self.attention_norm(hidden))
        query, key, value = projected.view(batch, length, 3, _HEADS, width // _HEADS).permute(
            2, 0, 3, 1, 4
        )
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        hidden = hidden + self.joined(attended.transpose(1, 2).reshape(batch, length, width))
        updated: torch.Tensor = hidden + self.perceptron(self.norm(hidden))
        return updated


class Transformer(nn.Module):
    """Two blocks over embedded inputs, and a head."""

    def __init__(self, embedding: nn.Module, length: int, outputs: int, *, causal: bool) -> None:
        super().__init__()
        self.embedding = embedding
        self.positions = nn.Parameter(0.02 * torch.randn(length, _WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(_BLOCKS))
        self.norm = nn.LayerNorm(_WIDTH)
        self.head = nn.Linear(_WIDTH, outputs)
        self.causal = causal

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of each position; without a causal mask those of their mean."""
        hidden = self.embedding(inputs) + self.positions
        for block in self.blocks:
            hidden = block(hidden, causal=self.causal)
        hidden = self.norm(hidden)
        logits: torch.Tensor = self.head(hidden if self.causal else hidden.mean(1))
        return logits


class Patches(nn.Module):
    """Embeds the patches of 2 x 2 pixels of images [batch, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(_PATCH**2, _WIDTH)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embedded patches [batch, 16, width]."""
        patches = images.view(-1, 4, _PATCH, 4, _PATCH).transpose(2, 3)
        embedded: torch.Tensor = self.embedding(patches.reshape(-1, _PATCHES, _PATCH**2))
        return embedded


def vision_transformer(outputs: int) -> Transformer:
    """Return a transformer over the patches of an image."""
    return Transformer(Patches(), _PATCHES, outputs, causal=False)


def character_transformer(vocabulary: int, length: int) -> Transformer:
    """Return a transformer that predicts the next character."""
    return Transformer(nn.Embedding(vocabulary, _WIDTH), length, vocabulary, causal=True)
