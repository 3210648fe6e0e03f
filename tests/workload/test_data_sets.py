"""Data sets of every kind that torch's DataLoader takes, and functions that collate them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from projects import workload
from torch.utils.data import DataLoader, IterableDataset

from harness.errors import HarnessError
from harness.workload.build import build

if TYPE_CHECKING:
    from collections.abc import Iterator


def here(name: str) -> str:
    """Return the class path of an object in this file."""
    return f"{__name__}.{name}"


class Table:
    """Rows with an index, a length and a quick way to get several, as `datasets.Dataset` has."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": float(index), "label": index}

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """Return several rows."""
        return [self[index] for index in indices]


class Rows:
    """Can only be iterated."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


class Stream(IterableDataset[float]):
    """A stream of torch's."""

    def __iter__(self) -> Iterator[float]:
        yield from Rows()


def rows() -> list[float]:
    """Return a list."""
    return list(Rows())


def generated() -> Iterator[float]:
    """Yield rows."""
    yield from Rows()


def tensor() -> torch.Tensor:
    """Return a tensor."""
    return torch.arange(6.0)


def loader() -> Any:
    """Return a loader, which has a batch size already."""
    return DataLoader([1, 2], batch_size=2)  # type: ignore[arg-type] # a list does at run time


def splits() -> dict[str, Any]:
    """Return data sets by name."""
    return {"train": rows()}


def negative(samples: list[float], factor: float = 1.0) -> torch.Tensor:
    """Collate to negative numbers."""
    return -factor * torch.tensor(samples)


class Collator:
    """Collates to a multiple."""

    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor

    def __call__(self, samples: list[float]) -> torch.Tensor:
        """Multiply."""
        return self.factor * torch.tensor(samples)


def passes(data: str, **more: Any) -> list[Any]:
    """Return two passes over the validation loader of data in this file, at a batch size of 3."""
    found = build(workload("zoo.PlainModel", here(data), **more))
    found.datamodule.batch_size = 3
    assert len(list(found.datamodule.train_dataloader())) == 2
    return [*found.datamodule.val_dataloader(), *found.datamodule.val_dataloader()]


@pytest.mark.parametrize("data", ["Rows", "Stream", "rows", "generated", "tensor"])
def test_whatever_a_loader_takes_is_a_data_set(data: str) -> None:
    """Each pass gives two batches of three, in training and, in their order, in validation."""
    assert [[0, 1, 2], [3, 4, 5]] * 2 == [batch.tolist() for batch in passes(data)]


def test_rows_of_a_table_are_collated_by_their_names() -> None:
    """Batches of mappings are mappings of tensors."""
    first, *_ = passes("Table")
    assert {"x": [0, 1, 2], "label": [0, 1, 2]} == {
        name: part.tolist() for name, part in first.items()
    }


@pytest.mark.parametrize(
    ("collate", "init_args", "expected"),
    [
        ("negative", {}, [0, -1, -2]),
        ("negative", {"factor": 3.0}, [0, -3, -6]),
        ("Collator", {}, [0, 2, 4]),
        ("Collator", {"factor": 5.0}, [0, 5, 10]),
    ],
)
def test_collate_fn_is_a_function_or_an_object_of_a_class(
    collate: str, init_args: dict[str, Any], expected: list[float]
) -> None:
    """A function collates itself, and a class is called with the arguments first."""
    spec = {"class_path": here(collate), "init_args": init_args}
    assert expected == passes("rows", collate_fn=spec)[0].tolist()


@pytest.mark.parametrize("data", ["loader", "splits"])
def test_what_is_no_data_set_is_refused(data: str) -> None:
    """The error names the kinds of data that are needed."""
    with pytest.raises(HarnessError, match="a list, or another object with indices and a length"):
        build(workload("zoo.PlainModel", here(data)))


def test_collate_fn_must_be_callable() -> None:
    """An object that cannot be called is refused."""
    spec = {"class_path": here("Table"), "init_args": {}}
    with pytest.raises(HarnessError, match=r"collate_fn .* gave an object of type .*\.Table"):
        build(workload("zoo.PlainModel", here("rows"), collate_fn=spec))


@pytest.mark.parametrize("data", ["zoo.Numbers", None])
def test_collate_fn_is_for_plain_data_sets(data: str | None) -> None:
    """A data module or a module with loaders collates by itself."""
    spec = {"class_path": here("Collator"), "init_args": {}}
    with pytest.raises(HarnessError, match="remove `collate_fn` from the model"):
        build(workload("zoo.Net", data, collate_fn=spec))
