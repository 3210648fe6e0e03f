"""Sizes of a sample or of a batch, whatever it is made of: its elements, bytes, and longest side.

A sample is seen before it is collated: a text may be a string or a list of numbers, an image a
picture of PIL. What it will be as a tensor is not known, but which sample is larger is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch

from harness.loaders.batch_counts import members

Dimensions = tuple[int, ...]

_MAX_NESTING = 6
# Objects may refer to all of a data set. So many members of a sample tell its size.
_MAX_VISITED = 100_000
_NUMBER_BYTES = 8


@dataclass(frozen=True)
class ItemSizes:
    """The sizes of one sample or batch."""

    num_elements: int
    num_bytes: int
    longest: int
    """The largest size of any one dimension."""
    leaves: tuple[Dimensions, ...]
    """The dimensions of each tensor, text and list of numbers in it, in their order."""


def sizes_of(thing: Any) -> ItemSizes:
    """Return the sizes of a sample or a batch."""
    walk = _Walk()
    leaves = tuple(walk.leaves(thing, 0))
    longest = max(itertools.chain.from_iterable(leaves), default=0)
    return ItemSizes(walk.num_elements, walk.num_bytes, longest, leaves)


class _Walk:
    """Adds up what lies in nested containers."""

    def __init__(self) -> None:
        self.num_elements = 0
        self.num_bytes = 0
        self._visited = 0

    def leaves(self, thing: Any, nesting: int) -> list[Dimensions]:
        """Return the dimensions of each leaf, and count its elements and bytes."""
        self._visited += 1
        if nesting > _MAX_NESTING or self._visited > _MAX_VISITED or thing is None:
            return []
        if isinstance(thing, torch.nn.utils.rnn.PackedSequence):
            thing = thing.data
        if isinstance(thing, torch.Tensor):
            return self._tensor(thing)
        if (plain := _plain(thing)) is not None:
            return self._leaf(*plain)
        if isinstance(thing, (list, tuple)):
            return self._sequence(thing, nesting)
        return self._of_all(members(thing), nesting)

    def _sequence(self, thing: Any, nesting: int) -> list[Dimensions]:
        """Return one leaf for a list of things that are alike, padded; else a leaf for each."""
        if thing and all(isinstance(member, (int, float)) for member in thing):
            return self._leaf((len(thing),), len(thing) * _NUMBER_BYTES)
        leaves = self._of_all(thing, nesting)
        # A tuple is a record: an input and its target.
        alike = len({len(leaf) for leaf in leaves}) == 1 and len(leaves) == len(thing)
        if isinstance(thing, tuple) or not alike:
            return leaves
        return [(len(leaves), *map(max, zip(*leaves, strict=True)))]

    def _of_all(self, things: Any, nesting: int) -> list[Dimensions]:
        return [leaf for thing in things for leaf in self.leaves(thing, nesting + 1)]

    def _tensor(self, tensor: torch.Tensor) -> list[Dimensions]:
        if tensor.is_nested:
            parts = [self._tensor(part)[0] for part in tensor.unbind()]
            return [(len(parts), *map(max, zip(*parts, strict=True)))] if parts else []
        if tensor.layout is not torch.strided:
            held = tensor.values().numel() if tensor.layout is torch.sparse_csr else tensor._nnz()  # noqa: SLF001 - no public way
            return self._leaf((held,), held * tensor.element_size())
        return self._leaf(tuple(tensor.shape) or (1,), tensor.numel() * tensor.element_size())

    def _leaf(self, shape: Dimensions, num_bytes: int) -> list[Dimensions]:
        self.num_elements += _product(shape)
        self.num_bytes += num_bytes
        return [shape]


def _plain(thing: Any) -> tuple[Dimensions, int] | None:
    """Return the dimensions and bytes of a text, a number, an array or a picture of PIL."""
    if isinstance(thing, (str, bytes)):
        return (len(thing),), len(thing)
    if isinstance(thing, (int, float, complex)):
        return (1,), _NUMBER_BYTES
    if hasattr(thing, "shape") and hasattr(thing, "dtype"):
        shape = tuple(int(length) for length in thing.shape) or (1,)
        return shape, _product(shape) * int(getattr(thing.dtype, "itemsize", 1))
    if hasattr(thing, "getbands") and hasattr(thing, "size"):
        shape = (*thing.size, len(thing.getbands()))
        return shape, _product(shape)
    return None


def _product(shape: Dimensions) -> int:
    product = 1
    for length in shape:
        product *= length
    return product
