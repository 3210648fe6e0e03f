"""Endless loaders of full batches."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from harness.loaders import (
    FullBatches,
    NoFullBatchError,
    WrongBatchSizeError,
    num_samples,
    replace_train_loader,
)


def batches(*sizes: int) -> list[torch.Tensor]:
    """Make a loader of batches of these sizes."""
    return [torch.zeros(size, 2) for size in sizes]


class Owner:
    """Has loaders as a module or a data module has."""

    def __init__(self, loaders: Any) -> None:
        self.loaders = loaders

    def train_dataloader(self) -> Any:
        """Give them."""
        return self.loaders


def test_repeats_the_data_and_leaves_out_the_partial_batch() -> None:
    """Two passes over two full batches and a partial one are four full batches."""
    sizes = [len(batch) for batch in islice(FullBatches(batches(4, 4, 3), 4), 4)]
    assert [4, 4, 4, 4] == sizes


@pytest.mark.parametrize("sizes", [(3,), ()])
def test_no_full_batch_in_a_pass_is_told(sizes: tuple[int, ...]) -> None:
    """A pass without a full batch ends the loader with what was missing."""
    with pytest.raises(NoFullBatchError, match="no full batch of 4"):
        next(iter(FullBatches(batches(*sizes), 4)))


@pytest.mark.parametrize(
    ("sizes", "found"),
    [((5,), 5), ((3, 3), 3), ((4, 3, 4), 3)],
    ids=["larger", "smaller throughout", "smaller in the middle"],
)
def test_batches_of_another_size_are_refused(sizes: tuple[int, ...], found: int) -> None:
    """A larger batch, or a smaller one that is not the last, means that the size is not in use."""
    with pytest.raises(
        WrongBatchSizeError, match=f"a batch of {found} samples when the batch size was set to 4"
    ):
        list(islice(FullBatches(batches(*sizes), 4), 5))


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(3, 2),
        (torch.zeros(3, 2), torch.zeros(3)),
        {"input_ids": torch.zeros(3, 2), "flag": True},
        [torch.tensor(1.0), {"inner": torch.zeros(3)}],
    ],
    ids=["tensor", "tuple", "mapping", "nested, scalar first"],
)
def test_samples_are_counted_in_any_nesting(batch: Any) -> None:
    """The first tensor with a dimension says how many samples there are."""
    assert 3 == num_samples(batch)


def test_batch_without_tensors_is_refused() -> None:
    """What holds no tensor cannot be counted."""
    with pytest.raises(WrongBatchSizeError, match="holds no tensor"):
        num_samples({"text": ["a", "b"]})


def test_sized_loader_stays_sized_and_unsized_one_unsized() -> None:
    """Lightning fetches ahead for loaders without a length, so that must not change."""
    sized = Owner(batches(2, 2))
    replace_train_loader(sized, 2, None)
    assert hasattr(sized.train_dataloader(), "__len__")
    unsized = Owner(iter(batches(2, 2)))
    replace_train_loader(unsized, 2, None)
    assert not hasattr(unsized.train_dataloader(), "__len__")


def test_several_loaders_are_each_repeated_at_their_own_size() -> None:
    """In a dict of loaders each one keeps the batch size that it has."""
    data = torch.utils.data.TensorDataset(torch.arange(8.0))
    owner = Owner(
        {
            "labelled": torch.utils.data.DataLoader(data, batch_size=2),
            "unlabelled": torch.utils.data.DataLoader(data, batch_size=4),
        }
    )
    replace_train_loader(owner, 2, None)
    loaders = owner.train_dataloader()
    sizes = {name: num_samples(next(iter(loader))) for name, loader in loaders.items()}
    assert {"labelled": 2, "unlabelled": 4} == sizes


def test_worst_case_batch_must_have_the_size_asked_for() -> None:
    """A hook that gives another number of samples is refused."""
    owner = Owner(batches(2))
    replace_train_loader(owner, 2, lambda batch_size: torch.zeros(batch_size + 1, 2))
    with pytest.raises(WrongBatchSizeError, match=r"worst_case_batch\(2\) gave 3 samples"):
        next(iter(owner.train_dataloader()))
