import torch.nn.functional as F
from lightning import LightningModule
from torch import nn


class ConvNet(nn.Sequential):
    def __init__(self, channels, depth, num_classes):
        layers, before = [], 1
        for _ in range(depth):
            layers += [
                nn.Conv1d(before, channels, 9, padding=4),
                nn.BatchNorm1d(channels),
                nn.ReLU(),
            ]
            before = channels
        layers += [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
        super().__init__(*layers)


class WaveClassifier(LightningModule):
    def __init__(self, net, optimizer, label_smoothing=0.0):
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=["net"])
        self.net = net

    def step(self, batch):
        smoothing = self.hparams.label_smoothing if self.training else 0.0
        return F.cross_entropy(self.net(batch["wave"]), batch["label"], label_smoothing=smoothing)

    def training_step(self, batch, batch_idx):
        loss = self.step(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.step(batch))

    def configure_optimizers(self):
        return self.hparams.optimizer(params=self.parameters())
