"""Small workloads for the tests, with one habit each. Probes import them by their class path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import lightning.pytorch as pl
import pytorch_lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

Batch = tuple[torch.Tensor, torch.Tensor]


class Numbers(pl.LightningDataModule):
    """Separable pairs of a float32 vector [16] and an int64 class."""

    def __init__(self, num_samples: int = 4096, batch_size: int = 4, num_workers: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(num_samples, 16, generator=generator)
        self.train: Dataset[Any] = TensorDataset(inputs, (inputs[:, 0] > 0).long())

    def train_dataloader(self) -> Any:
        """Return a loader that shuffles."""
        return DataLoader(
            self.train, batch_size=self.batch_size, shuffle=True, num_workers=self.num_workers
        )

    def val_dataloader(self) -> Any:
        """Return a loader that keeps the order."""
        return DataLoader(self.train, batch_size=self.batch_size)


class Net(pl.LightningModule):
    """A two-layer network whose hidden layer holds `width` floats per sample."""

    def __init__(self, width: int = 4096, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self.layers = nn.Sequential(nn.Linear(16, width), nn.GELU(), nn.Linear(width, 2))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy."""
        inputs, labels = batch
        return nn.functional.cross_entropy(self.layers(inputs), labels)

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Return the loss."""
        return self.loss(batch)

    def validation_step(self, batch: Batch, _batch_idx: int) -> None:
        """Log the loss."""
        self.log("loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        """Use AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class OlderPackageNet(pytorch_lightning.LightningModule):
    """A one-layer network of the older Lightning package."""

    def __init__(self) -> None:
        super().__init__()
        self.lr = 1e-3
        self.layers = nn.Linear(16, 2)

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Return the cross-entropy."""
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        """Use SGD."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class OlderPackageNumbers(pytorch_lightning.LightningDataModule):
    """The numbers, in a data module of the older Lightning package."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 4

    def train_dataloader(self) -> Any:
        """Return a loader that shuffles."""
        return DataLoader(Numbers(64).train, batch_size=self.batch_size, shuffle=True)


class NoValidation(pl.LightningModule):
    """Has no validation step."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Linear(16, 2)

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Return the cross-entropy."""
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        """Use SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class GreedyValidation(Net):
    """Holds a hundred times more memory in validation than in training."""

    def validation_step(self, batch: Batch, _batch_idx: int) -> None:
        """Hold a large tensor."""
        self.held = torch.ones(len(batch[0]), 100, 4096)


class GreedyEvaluation(Net):
    """Holds ten times more memory in validation than in training, as full-size evaluation does."""

    def validation_step(self, batch: Batch, _batch_idx: int) -> None:
        """Hold a large tensor."""
        self.held = torch.ones(len(batch[0]), 20, 4096)


class GreedySecondStep(Net):
    """Needs far more memory from its second optimizer step on."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Hold a large tensor from the second step on."""
        if self.global_step >= 1:
            self.held = torch.ones(len(batch[0]), 50, 4096)
        return self.loss(batch)


class Raises(Net):
    """Raises an error of its own in the backward pass."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Return a loss whose backward pass raises."""
        loss = self.loss(batch)
        loss.register_hook(self.explode)  # type: ignore[no-untyped-call] # torch leaves it untyped
        return loss

    def explode(self, _gradient: torch.Tensor) -> None:
        """Raise."""
        raise ValueError("labels must be sorted")


class RaisesAbove(Net):
    """Fails above a batch size for another reason than memory, as kernels with index limits do."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Raise above 10 samples."""
        if len(batch[0]) > 10:
            raise ValueError("index out of the kernel's range")
        return self.loss(batch)


class Loud(Net):
    """Prints far more than a pipe holds, and raises several lines that are not valid Unicode."""

    def training_step(self, _batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Print and raise."""
        os.write(1, b"x" * 5_000_000)
        raise ValueError("na\u00efve \udc80 \x00\nsecond line " + "y" * 1_000_000)


class Exits(Net):
    """Ends the process in a training step."""

    def training_step(self, _batch: Batch, _batch_idx: int) -> torch.Tensor:
        """End the process without Python's clean-up."""
        os._exit(3)


class Killed(Net):
    """Is killed by a signal, as the kernel would do it."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Kill this process."""
        os.kill(os.getpid(), signal.SIGKILL)
        return self.loss(batch)


class Hangs(Net):
    """Never ends its first step."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Wait for ever."""
        threading.Event().wait()
        return self.loss(batch)


class LeavesThings(Net):
    """Leaves a child process in a session of its own, and a thread."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Start both in the first step."""
        if self.global_step == 0:
            subprocess.Popen(
                [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
            )
            threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
        return self.loss(batch)


class Manual(Net):
    """Steps its optimizer itself."""

    def __init__(self) -> None:
        super().__init__(64)
        self.automatic_optimization = False

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Step the optimizer."""
        optimizer: Any = self.optimizers()
        loss = self.loss(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


class TwoOptimizers(Manual):
    """Has one optimizer per layer."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Step both optimizers."""
        loss = self.loss(batch)
        self.manual_backward(loss)
        both: Any = self.optimizers()
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    def configure_optimizers(self) -> Any:
        """Make two optimizers."""
        return [
            torch.optim.SGD(layer.parameters(), lr=0.1)
            for layer in (self.layers[0], self.layers[2])
        ]


class Scheduled(Net):
    """Warms its learning rate up, and has two groups whose rates are a factor of 10 apart."""

    def configure_optimizers(self) -> Any:
        """Make the groups and the schedule."""
        groups = [
            {"params": self.layers[0].parameters(), "lr": self.lr / 10},
            {"params": self.layers[2].parameters(), "lr": self.lr},
        ]
        optimizer = torch.optim.SGD(groups, lr=self.lr)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1e-3, total_iters=10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class IgnoresBatchSize(Numbers):
    """Makes batches of 7, whatever size is set."""

    def train_dataloader(self) -> Any:
        """Ignore the batch size."""
        return DataLoader(self.train, batch_size=7)


class WorstCase(Numbers):
    """Has a hook for the batch that needs most memory."""

    def worst_case_batch(self, batch_size: int) -> Batch:
        """Return inputs of ones, by which a test recognizes the batch."""
        return torch.ones(batch_size, 16), torch.zeros(batch_size, dtype=torch.long)


class RefusesOrdinaryBatches(Net):
    """Trains on worst-case batches only."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Assert that all inputs are ones."""
        assert bool((batch[0] == 1).all())
        return self.loss(batch)


class PlainModel(nn.Sequential):
    """A model that is no LightningModule."""

    def __init__(self, width: int = 32) -> None:
        super().__init__(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 2))


class PlainData(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A data set that is no LightningDataModule."""

    def __init__(self, num_samples: int = 256) -> None:
        self.numbers = Numbers(num_samples).train

    def __len__(self) -> int:
        return len(self.numbers)  # type: ignore[arg-type] # Dataset declares no length

    def __getitem__(self, index: int) -> Any:
        return self.numbers[index]


def scale(value: float, *, by: float = 2.0) -> float:
    """Return the product: a callable that is no class, for nested specs."""
    return value * by


class StartsThread(Net):
    """Starts a thread while it is built, and needs it in every step: a fork waits for ever."""

    def __init__(self) -> None:
        super().__init__(width=64)
        self.asked, self.answered = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self.answer, name="feeder", daemon=True).start()

    def answer(self) -> None:
        """Answer every question."""
        while True:
            self.asked.acquire()
            self.answered.release()

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Ask, wait for the answer, and train."""
        self.asked.release()
        self.answered.acquire()
        return super().training_step(batch, batch_idx)


class StartsCuda(Net):
    """Starts CUDA while it is built."""

    def __init__(self) -> None:
        super().__init__(width=64)
        torch.cuda.init()  # type: ignore[no-untyped-call] # torch leaves it untyped
