"""Classifies digits. `python train.py fit --config configs/train.yaml`."""

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import harness


class DigitsData(LightningDataModule):
    def __init__(self, image_size: int = 16, batch_size: int = 64, num_val: int = 297):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str):
        images, labels = load_digits(return_X_y=True)
        x = torch.from_numpy(images.astype(np.float32) / 16).view(-1, 1, 8, 8)
        x = F.interpolate(x, size=self.hparams.image_size, mode="bilinear")
        whole = TensorDataset(x, torch.from_numpy(labels).long())
        num_train = len(whole) - self.hparams.num_val
        split = torch.Generator().manual_seed(0)
        self.train, self.val = random_split(whole, [num_train, self.hparams.num_val], split)

    def train_dataloader(self):
        return DataLoader(self.train, self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, self.hparams.batch_size)


class Classifier(LightningModule):
    def __init__(
        self, image_size: int, width: int = 8, num_classes: int = 10, dropout: float = 0.0
    ):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * width * (image_size // 2) ** 2, num_classes),
        )

    def training_step(self, batch, _):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        logits = self.net(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())


class DigitsCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.image_size", "model.image_size")

    def before_fit(self):
        tuned = harness.load_profile("digits", gpu="cpu-32MiB")
        harness.apply(tuned, self.model, self.datamodule, trainer=self.trainer)
        print(f"batch size {self.datamodule.hparams.batch_size}, learning rate {self.rate()}")

    def rate(self):
        ([optimizer], _) = self.model.configure_optimizers()
        return optimizer.param_groups[0]["lr"]


def main():
    DigitsCLI(Classifier, DigitsData, save_config_kwargs={"overwrite": True})


if __name__ == "__main__":
    main()
