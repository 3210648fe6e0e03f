"""The samples that a pass over a loader gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import zoo
from accelerate.data_loader import BatchSamplerShard
from projects import workload
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from harness.loaders.passes import samples_in_pass
from harness.loaders.train_loaders import describe_training_loader
from harness.workload.build import build

if TYPE_CHECKING:
    from collections.abc import Iterator

TEN: Any = range(10)


class Stream(IterableDataset[int]):
    """A stream that knows its length."""

    def __iter__(self) -> Iterator[int]:
        yield from range(10)

    def __len__(self) -> int:
        return 10


class Endless(DataLoader[Any]):
    """A loader whose pass does not end with its sampler."""

    def __iter__(self) -> Any:
        while True:
            yield from super().__iter__()


class Twice(BatchSampler):
    """Gives each batch twice."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            yield batch
            yield batch


def stream(**more: Any) -> DataLoader[int]:
    """Return a loader of the stream."""
    return DataLoader(Stream(), **more)


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (DataLoader(TEN, batch_size=4), 10),
        (DataLoader(TEN, batch_size=4, shuffle=True, drop_last=True), 10),
        (DataLoader(TEN, sampler=RandomSampler(TEN, replacement=True, num_samples=70)), 70),
        (DataLoader(TEN, sampler=WeightedRandomSampler([1.0] * 10, 30)), 30),
        (DataLoader(TEN, sampler=SubsetRandomSampler(range(3))), 3),
        (DataLoader(TEN, sampler=DistributedSampler(TEN, num_replicas=5, rank=0)), 2),
        (DataLoader(TEN, batch_sampler=BatchSampler(range(6), 2, False)), 6),
        (DataLoader(TEN, sampler=BatchSampler(range(6), 2, False), batch_size=None), 6),
        (DataLoader(TEN, batch_sampler=BatchSamplerShard(BatchSampler(TEN, 2, False), 5, 0)), 10),
        (stream(batch_size=2), 10),
        (stream(batch_size=2, num_workers=1), 10),
        (stream(batch_size=2, num_workers=2), None),
        (stream(batch_size=None), None),
        (DataLoader(TEN, batch_size=None), None),
        (DataLoader(TEN, batch_sampler=[[0, 1], [2, 3]]), None),
        (DataLoader(TEN, batch_sampler=Twice(range(6), 2, False)), None),
        (DataLoader(TEN, sampler=iter([1, 2])), None),
        (Endless(TEN, batch_size=2), None),
        ([torch.zeros(2)], None),
        ({"a": DataLoader(TEN)}, None),
    ],
    ids=[
        "plain",
        "shuffled",
        "with replacement",
        "weighted",
        "subset",
        "distributed",
        "batch sampler",
        "batches of indices",
        "accelerate's, of five ranks",
        "stream",
        "stream, one worker",
        "stream, two workers",
        "stream of batches",
        "data set of batches",
        "list of batches",
        "own batch sampler",
        "sampler without a length",
        "own iteration",
        "no DataLoader",
        "several",
    ],
)
def test_samples_of_a_pass_are_those_of_its_sampler(loader: Any, expected: int | None) -> None:
    """The sampler counts, not the data set; what only a pass tells is None."""
    assert expected == samples_in_pass(loader)


class Counting(zoo.Numbers):
    """Counts its samples itself."""

    def count_samples(self, batch: zoo.Batch) -> int:
        """Return twice the rows."""
        return 2 * len(batch[0])


class Views(zoo.Numbers):
    """Takes two items for a sample."""

    def train_dataloader(self) -> Any:
        """Return pairs."""
        return DataLoader(self.train, batch_size=2 * self.batch_size)


class Several(zoo.Numbers):
    """Has two loaders with three workers in all."""

    def train_dataloader(self) -> Any:
        """Return both."""
        return [DataLoader(self.train, num_workers=number) for number in (1, 2)]


class Refuses(zoo.Numbers):
    """Takes no batch size of 1."""

    def train_dataloader(self) -> Any:
        """Fail."""
        raise ValueError


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("zoo.Numbers", (4096, 0)),
        (f"{__name__}.Counting", (None, 0)),
        (f"{__name__}.Views", (None, 0)),
        (f"{__name__}.Several", (None, 3)),
        (f"{__name__}.Refuses", (None, 0)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_training_data_are_described_as_far_as_they_tell(
    data: str, expected: tuple[int | None, int]
) -> None:
    """Their samples are known where each item is one, and their workers are counted together."""
    found = build(workload("zoo.Net", data))
    found.datamodule.batch_size = 1
    assert expected == describe_training_loader(found)
