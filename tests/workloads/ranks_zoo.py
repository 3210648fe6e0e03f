"""Workloads whose ranks differ: one of them runs out of memory, ends or waits."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import torch
import torch.distributed as dist
from texts_zoo import Reader
from torch import nn
from zoo import Batch, Net, Numbers


def rank() -> int:
    """Return the rank of this process, as a program under torchrun reads it."""
    return int(os.environ["RANK"])


class OneRank(Net):
    """In the second step one rank does something else than the other ones."""

    def __init__(self, what: str, which: int = 1) -> None:
        super().__init__(width=512)
        self.what, self.which = what, which
        self.held: Any = None

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss, unless it is this rank's turn."""
        if batch_idx == 1 and rank() == self.which:
            getattr(self, self.what)()
        return super().training_step(batch, batch_idx)

    def runs_out(self) -> None:
        """Take 4 GiB."""
        self.held = torch.ones(1 << 30, device=self.device)

    def keeps(self) -> None:
        """Take 4 MiB."""
        self.held = torch.ones(1 << 20, device=self.device)

    def raises(self) -> None:
        """Raise an error of its own."""
        raise ValueError("not this one")

    def is_killed(self) -> None:
        """End as by the kernel."""
        os.kill(os.getpid(), signal.SIGKILL)

    def leaves(self) -> None:
        """End without an error."""
        os._exit(0)

    def exits(self) -> None:
        """End with an exit code."""
        os._exit(7)

    def hangs(self) -> None:
        """Wait for what never comes."""
        threading.Event().wait()


class SeesSamples(Net):
    """Prints the samples that each rank gets, by the first number of each."""

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Print the batch."""
        seen = sorted(float(first) for first in batch[0][:, 0])
        print(f"seen {batch_idx} {seen}")  # noqa: T201 - the test reads the logs
        return super().training_step(batch, batch_idx)


class SeesLengths(Reader):
    """Prints the length of each batch of texts."""

    def training_step(self, batch: dict[str, torch.Tensor], _batch_idx: int) -> torch.Tensor:
        """Print the length."""
        print(f"length {batch['ids'].shape[1]}")  # noqa: T201 - the test reads the logs
        return super().training_step(batch, _batch_idx)


class Stepping:
    """A training of its own whose `step` runs in ranks, as under torchrun."""

    def __init__(
        self, batch_size: int, device: torch.device, width: int = 4096, wrong: str = ""
    ) -> None:
        if not dist.is_initialized():
            dist.init_process_group("gloo" if device.type == "cpu" else "nccl")
        self.device = device
        layers = nn.Sequential(nn.Linear(16, width), nn.GELU(), nn.Linear(width, 2))
        self.model = nn.parallel.DistributedDataParallel(layers.to(self.device))
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.batch_size, self.wrong, self.steps = batch_size, wrong, 0

    def step(self) -> torch.Tensor:
        """Take one step on numbers of this rank's."""
        self.steps += 1
        if self.wrong == "runs_out" and rank() == 1 and self.steps == 2:
            self.held = torch.ones(1 << 30, device=self.device)
        generator = torch.Generator().manual_seed(rank())
        inputs = torch.randn(self.batch_size, 16, generator=generator).to(self.device)
        labels = (inputs[:, 0] > 0).long()
        loss = nn.functional.cross_entropy(self.model(inputs), labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # untyped in torch
        self.optimizer.step()
        return loss


def loop(batch_size: int, device: torch.device) -> Any:
    """Return a function that trains in ranks, with a loop of its own."""

    def train() -> None:
        training = Stepping(batch_size, device)
        for _ in range(1000):
            training.step()

    return train


__all__ = ["Numbers", "OneRank", "SeesLengths", "SeesSamples", "Stepping", "loop"]
