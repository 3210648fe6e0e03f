"""Texts of very different lengths, which are padded to the longest of a batch."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset


class TextSet(Dataset[dict[str, Any]]):
    """Short texts, and a long one at the end."""

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def __len__(self) -> int:
        return 129

    def __getitem__(self, index: int) -> dict[str, Any]:
        length = self.longest if index == 128 else 2 + index % 5
        return {"ids": torch.full((length,), index % 7), "label": index % 2}


def collate(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad the texts, as the collators of transformers do."""
    return {
        "ids": pad_sequence([sample["ids"] for sample in samples], batch_first=True),
        "label": torch.tensor([sample["label"] for sample in samples]),
    }


class Texts(pl.LightningDataModule):
    """Shuffles the texts."""

    def __init__(self, seed: int = 0, longest: int = 400, batch_size: int = 4) -> None:
        super().__init__()
        self.seed, self.longest, self.batch_size = seed, longest, batch_size

    def train_dataloader(self) -> Any:
        """Return a loader whose order follows from the seed."""
        return DataLoader(
            TextSet(self.longest),
            self.batch_size,
            shuffle=True,
            drop_last=True,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(self.seed),
        )


class Hooked(Texts):
    """Has the hook that the setting stands for."""

    def worst_case_batch(self, batch_size: int) -> dict[str, torch.Tensor]:
        """Return a batch of texts of one length."""
        texts = torch.zeros(batch_size, self.longest, dtype=torch.long)
        return {"ids": texts, "label": torch.zeros(batch_size, dtype=torch.long)}


class Reader(pl.LightningModule):
    """Holds a few numbers for each word of the padded batch."""

    def __init__(self, width: int = 1024, lr: float = 0.1) -> None:
        super().__init__()
        self.lr = lr
        self.words, self.head = nn.Embedding(7, width), nn.Linear(width, 2)

    def training_step(self, batch: dict[str, torch.Tensor], _batch_idx: int) -> torch.Tensor:
        """Return the loss."""
        read = torch.tanh(self.words(batch["ids"])).mean(1)
        return nn.functional.cross_entropy(self.head(read), batch["label"])

    def configure_optimizers(self) -> Any:
        """Make an optimizer without state."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)
