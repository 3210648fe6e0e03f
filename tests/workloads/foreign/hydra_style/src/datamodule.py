import math

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset


class Waves(Dataset):
    """Noisy sine waves; the class is the frequency."""

    def __init__(self, num_waves, length, num_classes, seed):
        self.num_waves, self.length, self.num_classes = num_waves, length, num_classes
        self.seed = seed

    def __len__(self):
        return self.num_waves

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(self.seed * self.num_waves + index)
        label = index % self.num_classes
        phase = torch.rand(1, generator=generator) * 2 * math.pi
        times = torch.linspace(0, 2 * math.pi * (label + 1), self.length)
        wave = torch.sin(times + phase) + 0.1 * torch.randn(self.length, generator=generator)
        return {"wave": wave.unsqueeze(0), "label": label}


class WavesDataModule(LightningDataModule):
    def __init__(self, num_train, num_val, length, num_classes, batch_size, num_workers=0):
        super().__init__()
        self.save_hyperparameters(logger=False)

    def setup(self, stage=None):
        hp = self.hparams
        self.train = Waves(hp.num_train, hp.length, hp.num_classes, seed=0)
        self.val = Waves(hp.num_val, hp.length, hp.num_classes, seed=1)

    def _loader(self, waves, *, shuffle):
        hp = self.hparams
        return DataLoader(waves, hp.batch_size, shuffle=shuffle, num_workers=hp.num_workers)

    def train_dataloader(self):
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self):
        return self._loader(self.val, shuffle=False)
