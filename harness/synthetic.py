"""Defines synthetic data for measuring memory: real shapes and noise, so nothing can be learned."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

# Far above any batch size that a search tries, so that the data set never bounds the batch size.
_NUM_SAMPLES = 1 << 20


class SyntheticImages(Dataset[tuple[torch.Tensor, int]]):
    """Noise images with labels: float32 [channels, resolution, resolution] and a class index.

    Each sample depends only on its index, so runs are repeatable and no sample is stored.
    """

    synthetic = True

    def __init__(
        self,
        resolution: int,
        num_classes: int = 1000,
        channels: int = 3,
        num_samples: int = _NUM_SAMPLES,
    ) -> None:
        self.resolution = resolution
        self.num_classes = num_classes
        self.channels = channels
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if not 0 <= index < self.num_samples:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        shape = (self.channels, self.resolution, self.resolution)
        return torch.rand(shape, generator=generator), index % self.num_classes


class SyntheticTokens(Dataset[dict[str, torch.Tensor]]):
    """Noise tokens for language models: int64 `input_ids` and equal `labels` of shape [length]."""

    synthetic = True

    def __init__(self, length: int, vocab_size: int, num_samples: int = _NUM_SAMPLES) -> None:
        self.length = length
        self.vocab_size = vocab_size
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.num_samples:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        tokens = torch.randint(self.vocab_size, (self.length,), generator=generator)
        return {"input_ids": tokens, "labels": tokens.clone()}
