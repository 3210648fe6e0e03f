"""Provides data that cost no time: all samples are equal, and a batch is made in one step."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset

_NUM_SAMPLES = 1 << 16


class FixedImages(Dataset[tuple[torch.Tensor, int]]):
    """The same noise image for all indexes, with a class index.

    The image is float32 [channels, resolution, resolution].
    """

    synthetic = True

    def __init__(self, resolution: int, num_classes: int = 10, channels: int = 3) -> None:
        self.num_classes = num_classes
        generator = torch.Generator().manual_seed(0)
        self.image = torch.rand((channels, resolution, resolution), generator=generator)

    def __len__(self) -> int:
        return _NUM_SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if not 0 <= index < _NUM_SAMPLES:
            raise IndexError(index)
        return self.image, index % self.num_classes

    def worst_case_batch(self, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Make a batch without the loader; all batches are alike."""
        labels = torch.arange(batch_size) % self.num_classes
        return self.image.expand(batch_size, *self.image.shape).contiguous(), labels


class FixedTokens(Dataset[dict[str, torch.Tensor]]):
    """The same noise text for all indexes: int64 `input_ids` and `labels` of shape [length]."""

    synthetic = True

    def __init__(self, length: int, vocab_size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(vocab_size, (length,), generator=generator)

    def __len__(self) -> int:
        return _NUM_SAMPLES

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < _NUM_SAMPLES:
            raise IndexError(index)
        return {"input_ids": self.tokens, "labels": self.tokens}

    def worst_case_batch(self, batch_size: int) -> dict[str, Any]:
        """Make a batch without the loader; all batches are alike."""
        tokens = self.tokens.expand(batch_size, len(self.tokens)).contiguous()
        return {"input_ids": tokens, "labels": tokens.clone()}
