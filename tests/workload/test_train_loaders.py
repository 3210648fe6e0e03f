"""Training loaders that give full batches without end."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from harness.workload.train_loaders import (
    FullBatches,
    NoFullBatchError,
    WrongBatchSizeError,
    num_samples,
    replace_train_loader,
)


def batches(*sizes: int) -> list[torch.Tensor]:
    """Make a loader with batches of these sizes."""
    return [torch.zeros(size, 2) for size in sizes]


class Owner:
    """Has a hook for loaders, as a module or a data module has."""

    def __init__(self, loaders: Any) -> None:
        self.loaders = loaders

    def train_dataloader(self) -> Any:
        """Return the loaders."""
        return self.loaders


def test_repeats_the_data_and_leaves_out_the_partial_batch() -> None:
    """Two passes over two full batches and a partial one give four full batches."""
    sizes = [len(batch) for batch in islice(FullBatches(batches(4, 4, 3), 4), 4)]
    assert [4, 4, 4, 4] == sizes


@pytest.mark.parametrize("sizes", [(3,), ()])
def test_no_full_batch_in_a_pass_is_told(sizes: tuple[int, ...]) -> None:
    """A pass without a full batch raises NoFullBatchError with the size."""
    with pytest.raises(NoFullBatchError, match="no full batch of 4"):
        next(iter(FullBatches(batches(*sizes), 4)))


@pytest.mark.parametrize(
    ("sizes", "found"),
    [((5,), 5), ((3, 3), 3), ((4, 3, 4), 3)],
    ids=["larger", "smaller throughout", "smaller in the middle"],
)
def test_batches_of_another_size_are_refused(sizes: tuple[int, ...], found: int) -> None:
    """A larger batch is refused, and so is a smaller one that is not the last."""
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
    """The first dimension of the first tensor that has one is the number of samples."""
    assert 3 == num_samples(batch)


def test_batch_without_tensors_is_refused() -> None:
    """A batch without a tensor raises WrongBatchSizeError."""
    with pytest.raises(WrongBatchSizeError, match="holds no tensor"):
        num_samples({"text": ["a", "b"]})


def test_sized_loader_stays_sized_and_unsized_one_unsized() -> None:
    """A loader keeps its length or its lack of one, by which Lightning fetches batches ahead."""
    sized = Owner(batches(2, 2))
    replace_train_loader(sized, 2, None)
    assert hasattr(sized.train_dataloader(), "__len__")
    unsized = Owner(iter(batches(2, 2)))
    replace_train_loader(unsized, 2, None)
    assert not hasattr(unsized.train_dataloader(), "__len__")


def test_several_loaders_are_each_repeated_at_their_own_size() -> None:
    """In a dict of loaders each one keeps its own batch size."""
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
    """A hook `worst_case_batch` that gives another number of samples is refused."""
    owner = Owner(batches(2))
    replace_train_loader(owner, 2, lambda batch_size: torch.zeros(batch_size + 1, 2))
    with pytest.raises(WrongBatchSizeError, match=r"worst_case_batch\(2\) gave 3 samples"):
        next(iter(owner.train_dataloader()))
