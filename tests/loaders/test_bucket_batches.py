"""Batches of several loaders in turn."""

from __future__ import annotations

from itertools import islice, pairwise

import lightning.pytorch as pl
import pytest

from harness.loaders.bucket_batches import in_turn, order_of_turns


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_each_loader_follows_each_once(number: int) -> None:
    """The turns, read as a circle, are all pairs."""
    turns = order_of_turns(number)
    pairs = {*pairwise([*turns, turns[0]])}
    assert (number**2, {(a, b) for a in range(number) for b in range(number)}) == (
        len(turns),
        pairs,
    )


@pytest.mark.filterwarnings("ignore")  # Lightning's
def test_batches_come_in_this_order() -> None:
    """Each from where its loader has stopped."""
    loaders = in_turn(pl, [[1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60]], order_of_turns(2))
    assert [1, 2, 10, 20, 3, 4, 30] == [batch for batch, _, _ in islice(iter(loaders), 7)]
