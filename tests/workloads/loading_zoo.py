"""Workloads whose data take real work to load. Probes import them by their class path."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

if TYPE_CHECKING:
    from collections.abc import Iterator

Sample = tuple[torch.Tensor, int]
_TEXT = zlib.compress(bytes(range(256)) * 512, 9)


class Packed(Dataset[Sample]):
    """Samples that are unpacked again and again: `work` times each."""

    def __init__(self, work: int, *, dies: bool) -> None:
        self.work = work
        self.dies = dies

    def __len__(self) -> int:
        return 512

    def __getitem__(self, index: int) -> Sample:
        """Unpack a sample; in a worker, end it where the test asks for that."""
        if self.dies and torch.utils.data.get_worker_info() is not None:
            os._exit(7)
        for _ in range(self.work):
            zlib.decompress(_TEXT)
        return torch.full((16,), float(index % 7)), index % 2


class Archive(pl.LightningDataModule):
    """Data that are packed, with the workers that are asked for."""

    def __init__(self, work: int = 1, *, dies: bool = False) -> None:
        super().__init__()
        self.batch_size = 4
        self.num_workers = 0
        self.data: Any = Packed(work, dies=dies)

    def train_dataloader(self) -> Any:
        """Return a loader."""
        return DataLoader(self.data, batch_size=self.batch_size, num_workers=self.num_workers)


class Deaf(Archive):
    """Does not hand its workers to the loader."""

    def train_dataloader(self) -> Any:
        """Return a loader without workers."""
        return DataLoader(self.data, batch_size=self.batch_size)


class WithoutWorkers(Deaf):
    """Has no attribute for workers."""

    def __init__(self) -> None:
        super().__init__()
        del self.num_workers


class Own:
    """A loader that is no DataLoader."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


class OwnLoader(Archive):
    """Has a loader of its own kind."""

    def train_dataloader(self) -> Any:
        """Return it."""
        return Own(super().train_dataloader())


class Endless(IterableDataset[Sample]):
    """A stream."""

    def __iter__(self) -> Iterator[Sample]:
        for index in range(512):
            yield torch.zeros(16), index % 2


class Streaming(Archive):
    """Has a stream for data."""

    def __init__(self) -> None:
        super().__init__()
        self.data = Endless()
