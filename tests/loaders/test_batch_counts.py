"""Counting the samples of batches of every kind."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.loaders.batch_counts import BatchCounter, Fill, WrongBatchSizeError, stated_batch_size


class Pair(NamedTuple):
    """An input and its target."""

    inputs: torch.Tensor
    target: torch.Tensor


@dataclass
class Record:
    """A batch with its parts in fields."""

    name: str
    inputs: torch.Tensor


class Graphs:
    """A batch of graphs: tensors over all of their nodes, and the number of graphs."""

    def __init__(self, num_graphs: int) -> None:
        self.x = torch.zeros(29, 5)
        self.num_graphs = num_graphs


class Slotted:
    """A batch that keeps its parts in slots."""

    __slots__ = ("inputs",)

    def __init__(self, inputs: torch.Tensor) -> None:
        self.inputs = inputs


@dataclass
class Boxes:
    """A batch that has a length, and tensors that say nothing."""

    boxes: list[int]
    flat: torch.Tensor = field(default_factory=lambda: torch.zeros(29))

    def __len__(self) -> int:
        return len(self.boxes)


def pictures(number: int) -> tuple[Any, ...]:
    """Return pictures of different sizes and their targets, as detectors take them."""
    return tuple(torch.zeros(3, 8, 8 + i) for i in range(number)), tuple(range(number))


def sequences(*lengths: int) -> Any:
    """Return packed sequences."""
    rows = [torch.zeros(length, 5) for length in lengths]
    return torch.nn.utils.rnn.pack_sequence(rows, enforce_sorted=False)


FOUR: dict[str, Any] = {
    "tensor": torch.zeros(4, 2),
    "tuple": (torch.zeros(4, 2), torch.zeros(4)),
    "mapping": {"input_ids": torch.zeros(4, 2), "flag": True},
    "user's mapping": UserDict(input_ids=torch.zeros(4, 2)),
    "scalar first": [torch.tensor(1.0), {"inner": torch.zeros(4)}],
    "array": np.zeros((4, 2)),
    "named tuple": Pair(torch.zeros(4, 2), torch.zeros(4)),
    "dataclass": Record("a", torch.zeros(4, 2)),
    "attributes": SimpleNamespace(inputs=torch.zeros(4, 2)),
    "slots": Slotted(torch.zeros(4, 2)),
    "texts": ["a", "b", "c", "d"],
    "texts in a mapping": {"text": ["a", "b", "c", "d"], "kind": "news"},
    "pictures": pictures(4),
    "time first": (torch.zeros(12, 4, 5), torch.zeros(4)),
    "packed": (sequences(7, 3, 5, 2), torch.zeros(29)),
    "packed alone": sequences(7, 3, 5, 2),
    "graphs": Graphs(4),
    "graphs and targets": (Graphs(4), torch.zeros(29)),
    "its batch size": SimpleNamespace(batch_size=torch.Size([4]), x=torch.zeros(29)),
    "its length": Boxes([1, 2, 3, 4]),
    "nested": torch.nested.nested_tensor(
        [torch.zeros(i, 2) for i in (3, 1, 2, 5)], layout=torch.jagged
    ),
}


@pytest.mark.parametrize("batch", FOUR.values(), ids=FOUR)
@pytest.mark.parametrize(("size", "expected"), [(4, "full"), (5, "smaller")])
def test_batches_of_any_kind_show_their_samples(batch: Any, size: int, expected: Fill) -> None:
    """A batch of four samples is full where four are asked for, and not where five are."""
    assert expected == BatchCounter(size, None)(batch, None)[0]


def test_batch_larger_than_the_size_is_told() -> None:
    """Sixteen samples are too many where five are asked for, and their number is returned."""
    assert ("larger", 16) == BatchCounter(5, None)((torch.zeros(16, 2), torch.zeros(16)), None)


@pytest.mark.parametrize(("items", "expected"), [(4, "full"), (3, "smaller"), (5, "larger")])
def test_collated_items_count_where_the_loader_states_the_size(items: int, expected: Fill) -> None:
    """Items are believed, whatever the batch looks like: here it has four time steps."""
    batch = (torch.zeros(4, items, 5), torch.zeros(items))
    assert (expected, items) == BatchCounter(4, stated=4)(batch, items)


def test_items_that_are_several_samples_may_add_up_to_the_size() -> None:
    """Two items of four crops are a batch of eight where eight are asked for."""
    assert "full" == BatchCounter(8, stated=2)(torch.zeros(8, 3), 2)[0]


@pytest.mark.parametrize(("last", "expected"), [(False, "full"), (True, "smaller")])
def test_place_in_the_pass_counts_where_nothing_else_tells(last: bool, expected: Fill) -> None:
    """Of a loader that states the size, all batches but the last one are full."""
    assert expected == BatchCounter(4, stated=4)(torch.zeros(29), None, last=last)[0]


def test_users_count_is_believed() -> None:
    """The hook `count_samples` counts before anything else."""
    counter = BatchCounter(4, stated=4, count_samples=lambda batch: batch["rows"])
    assert ("smaller", 3) == counter({"rows": 3, "x": torch.zeros(4)}, 4)


@pytest.mark.parametrize("answer", [None, 2.5, "4", True])
def test_users_count_must_be_a_whole_number(answer: Any) -> None:
    """Another answer is refused."""
    counter = BatchCounter(4, None, count_samples=lambda _: answer)
    with pytest.raises(HarnessError, match=r"count_samples\(batch\) returned .* whole number"):
        counter(torch.zeros(4), None)


def test_batch_that_shows_nothing_needs_the_hook() -> None:
    """The error for a batch without any number names the hook."""
    with pytest.raises(WrongBatchSizeError, match=r"of type object: .*`count_samples\(batch\)`"):
        BatchCounter(4, None)(object(), None)


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (SimpleNamespace(batch_size=8), 8),
        (SimpleNamespace(batch_size=None, batch_sampler=SimpleNamespace(batch_size=8)), 8),
        (SimpleNamespace(batch_size=None, sampler=SimpleNamespace(batch_size=8)), 8),
        ([], None),
    ],
    ids=["loader", "batch sampler", "sampler", "list"],
)
def test_loader_its_batch_sampler_or_its_sampler_states_the_size(
    loader: Any, expected: int | None
) -> None:
    """The first of the three that states a size counts."""
    assert expected == stated_batch_size(loader)
