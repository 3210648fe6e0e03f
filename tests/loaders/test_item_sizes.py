"""The sizes of a sample or a batch, whatever it is made of."""

from __future__ import annotations

from collections import UserDict
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from harness.loaders.item_sizes import sizes_of


class Record(NamedTuple):
    """An input and its boxes."""

    image: torch.Tensor
    boxes: list[torch.Tensor]


class Picture:
    """A picture as PIL has them."""

    size = (20, 10)

    def getbands(self) -> tuple[str, ...]:
        """Name the channels."""
        return ("R", "G", "B")


def nested(*parts: torch.Tensor) -> torch.Tensor:
    """Return a nested tensor in the layout that torch develops."""
    return torch.nested.nested_tensor(list(parts), layout=torch.jagged)


@pytest.mark.parametrize(
    ("thing", "elements", "num_bytes", "longest"),
    [
        (torch.zeros(3, 4), 12, 48, 4),
        (torch.zeros(3, dtype=torch.float64), 3, 24, 3),
        (torch.tensor(1.0), 1, 4, 1),
        (np.zeros((2, 5), np.int8), 10, 10, 5),
        ({"a": torch.zeros(2), "b": [torch.zeros(7), None]}, 9, 36, 7),
        (UserDict(ids=torch.zeros(2, 9)), 18, 72, 9),
        (Record(torch.zeros(3, 8, 8), [torch.zeros(4), torch.zeros(4)]), 200, 800, 8),
        (pack_sequence([torch.zeros(5), torch.zeros(2)]), 7, 28, 7),
        (nested(torch.zeros(2, 3), torch.zeros(4, 3)), 18, 72, 4),
        (torch.eye(6).to_sparse(), 6, 24, 6),
        ([1, 2, 3, 4], 4, 32, 4),
        ("seven..", 7, 7, 7),
        (Picture(), 600, 600, 20),
        (SimpleNamespace(x=torch.zeros(5, 2), edges=torch.zeros(2, 11)), 32, 128, 11),
        ((torch.zeros(4), 1), 5, 24, 4),
        ([], 0, 0, 0),
    ],
)
def test_elements_bytes_and_the_longest_side(
    thing: Any, elements: int, num_bytes: int, longest: int
) -> None:
    """All that lies in a thing counts, and the longest side is that of one dimension."""
    found = sizes_of(thing)
    assert (elements, num_bytes, longest) == (found.num_elements, found.num_bytes, found.longest)


def test_a_list_of_alike_things_is_one_leaf() -> None:
    """Boxes of an image are a list of any length, and are padded to their largest."""
    boxes = [torch.zeros(3, 4), torch.zeros(5, 2)]
    assert ((2, 5, 4),) == sizes_of(boxes).leaves


def test_a_record_has_a_leaf_for_each_part() -> None:
    """An input and its target have the same dimensions by chance."""
    assert ((3,), (5,)) == sizes_of((torch.zeros(3), torch.zeros(5))).leaves


def test_a_thing_that_holds_itself_ends() -> None:
    """Objects may refer to their owner."""
    thing: Any = SimpleNamespace(x=torch.zeros(3))
    thing.owner = thing
    assert 3 == sizes_of(thing).longest


@given(st.recursive(st.integers(0, 40).map(torch.zeros), st.lists))
def test_elements_are_those_of_all_tensors(thing: Any) -> None:
    """However tensors are nested, each counts once, up to the deepest nesting that is looked at."""

    def all_of(part: Any, nesting: int = 0) -> int:
        if nesting > 6:
            return 0
        if isinstance(part, list):
            return sum(all_of(member, nesting + 1) for member in part)
        return int(part.numel())

    assert all_of(thing) == sizes_of(thing).num_elements
