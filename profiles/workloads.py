"""The reference workloads: image classifiers on scikit-learn's digits, at the case's resolution."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from profiles.models import AlexNet, ResNet, ViT

Batch = tuple[torch.Tensor, torch.Tensor]


class ImageClassifier(pl.LightningModule):
    """Cross-entropy training of one of the reference models.

    Args:
        arch: `alexnet`, `resnet` or `vit`.
        resolution: side of the square images, in pixels.
        lr: learning rate of AdamW, which the LR range test replaces.

    """

    def __init__(self, arch: str, resolution: int, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self.model: nn.Module
        if arch == "alexnet":
            self.model = AlexNet(resolution)
        elif arch == "resnet":
            self.model = ResNet()
        elif arch == "vit":
            self.model = ViT(resolution)
        else:
            raise ValueError(f"arch {arch!r}: alexnet, resnet or vit")

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Return the mean cross-entropy of the batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.model(images), labels)

    def validation_step(self, batch: Batch, _batch_idx: int) -> None:
        """Log accuracy."""
        images, labels = batch
        self.log("accuracy", (self.model(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Train with AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class Digits(pl.LightningDataModule):
    """1,797 real images of handwritten digits, 8 x 8 pixels, enlarged; 1,500 are for training."""

    def __init__(self, resolution: int, batch_size: int = 32) -> None:
        super().__init__()
        self.resolution = resolution
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        """Read, resize and split the images."""
        del stage
        pixels, labels = load_digits(return_X_y=True)
        images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
        images = nn.functional.interpolate(images, size=self.resolution, mode="bilinear")
        whole = TensorDataset(images, torch.tensor(labels))
        self.train, self.val = random_split(
            whole, [1500, len(whole) - 1500], torch.Generator().manual_seed(0)
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of float32 [batch, 1, resolution, resolution] and int64 [batch]."""
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the same shape, in order."""
        return DataLoader(self.val, batch_size=self.batch_size)
