"""Gives the batches of several loaders in turn, as a sampler of buckets does in some order."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

from harness.loaders.full_batches import LENGTH
from harness.loaders.replaced_loaders import combined
from harness.loaders.train_loaders import MODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType


class _InTurn:
    """Gives a batch of one of the loaders at a time, without end."""

    def __init__(self, loaders: Sequence[Any], order: Sequence[int]) -> None:
        self.loaders = loaders
        self.order = order

    def __iter__(self) -> Iterator[Any]:
        iterators = [iter(loader) for loader in self.loaders]
        for at in cycle(self.order):
            batch, _, _ = next(iterators[at])  # a CombinedLoader tells two numbers, too
            yield batch

    def __len__(self) -> int:
        return LENGTH  # with a length, Lightning fetches no batch ahead


def in_turn(lightning: ModuleType, loaders: Sequence[Any], order: Sequence[int]) -> Any:
    """Return the last of some combined loaders, iterated as a batch of each in turn."""
    *others, last = (combined(lightning, loader, MODE) for loader in loaders)
    iterated = getattr(last, "iterated", None)
    if iterated is None:
        return combined(lightning, _InTurn([*others, last], order), MODE)
    last.iterated = lambda: combined(lightning, _InTurn([*others, iterated()], order), MODE)
    return last


def order_of_turns(number: int) -> list[int]:
    """Return turns in which each of `number` loaders follows each once, itself included.

    An allocator may fail at a batch because of the one before it: a large batch does not fit into
    the blocks that a smaller one leaves, and a small one may split those of a large one.
    """
    order: list[int] = []
    for first in range(number):
        order.append(first)
        for second in range(first + 1, number):
            order += [first, second]
    # Read as a circle, these are all pairs: (0,0), (0,1), (1,0), (0,2), (2,0), (1,1), ...
    return order
