"""Counts the samples of a batch, whatever it is made of.

A batch says by itself how many samples it holds only sometimes: pictures of different sizes come in
a tuple, sequences with the time first, graphs as one graph. So the user's hook, the number of items
that were collated and what the loader states count first, and the content last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from harness.errors import HarnessError

Fill = Literal["full", "smaller", "larger"]

_MAX_NESTING = 6
# More members tell nothing that these do not.
_MAX_MEMBERS = 4096
_NO_FIELDS = (str, bytes, int, float, complex, type(None))


class WrongBatchSizeError(HarnessError):
    """The loader's batches do not have the size that was set."""


def stated_batch_size(loader: Any) -> int | None:
    """Return the batch size that a loader, its batch sampler or its sampler states, or None."""
    for holder in (
        loader,
        getattr(loader, "batch_sampler", None),
        getattr(loader, "sampler", None),
    ):
        size = _whole(getattr(holder, "batch_size", None))
        if size is not None:
            return size
    return None


@dataclass(frozen=True)
class Content:
    """The numbers in a batch that may be its number of samples."""

    stated: int | None
    """What the batch itself states: the graphs of a graph batch, the sequences of a packed one."""
    dimensions: tuple[int, ...]
    """The first dimension of each tensor that has one, and the length of each object with one."""
    lengths: tuple[int, ...]
    """The lengths of lists whose members are alike: pictures, texts."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The likely numbers: what the batch states, or its dimensions, or else its lengths."""
        return self.dimensions or self.lengths if self.stated is None else (self.stated,)

    def may_hold(self, size: int) -> bool:
        """Return whether `size` is among the numbers."""
        if self.stated is not None:
            return self.stated == size
        return size in self.dimensions or size in self.lengths

    @property
    def ambiguous(self) -> bool:
        """Whether the tensors show several numbers."""
        return self.stated is None and len(set(self.dimensions)) > 1

    def other_than(self, size: int) -> int | None:
        """Return the likeliest number of samples of a batch that does not hold `size`.

        It is below `size` wherever a number is: time steps and nodes may well be more than the
        samples of a partial batch. None where nothing tells.
        """
        smaller = [number for number in self.numbers if number < size]
        return max(smaller, default=min(self.numbers, default=None))


def content(batch: Any) -> Content:
    """Return the numbers in a batch that may be its number of samples."""
    dimensions: list[int] = []
    lengths: list[int] = []
    stated = _statement(batch)
    if stated is not None:
        return Content(stated, (), ())
    _walk(batch, dimensions, lengths, 0)
    return Content(None, tuple(dimensions), tuple(lengths))


class BatchCounter:
    """Tells whether the batches of one loader are full.

    size: the number of samples in a full batch.
    stated: the batch size that the loader states.
    count_samples: the user's hook, which is believed.
    """

    def __init__(
        self, size: int, stated: int | None, count_samples: Callable[[Any], int] | None = None
    ) -> None:
        self.size = size
        self.stated = stated
        self.count_samples = count_samples
        # Whether the number of collated items is known to be the number of samples.
        self._items_count = stated == size

    def __call__(
        self, batch: Any, items: int | None, *, last: bool | None = None
    ) -> tuple[Fill, int | None]:
        """Return whether a batch is full, and how many samples it seems to hold.

        items: the number of items that were collated; None where it is unknown.
        last: whether the batch is the last one of several in a pass; None where it is unknown.

        Raises WrongBatchSizeError when nothing tells the number of samples.
        """
        if self.count_samples is not None:
            return self._fill(counted(self.count_samples, batch))
        if items is not None and self._items_count:
            return self._fill(items)
        shown = content(batch)
        if self.stated == self.size and last is not None and shown.ambiguous:
            return ("smaller" if last else "full"), shown.other_than(self.size)
        if items == self.size or shown.may_hold(self.size):
            self._items_count = items == self.size
            return "full", self.size
        likeliest = shown.other_than(self.size) if items is None else items
        if self.stated == self.size:
            return self._of_obedient(likeliest, last=last), likeliest
        if likeliest is None:
            raise WrongBatchSizeError(
                f"cannot count the samples in a batch of type {type(batch).__qualname__}: it holds "
                "no tensor, no list and no number of samples. Add a method `count_samples(batch)` "
                "to the data module, or to the module without one"
            )
        return self._fill(likeliest)

    def _of_obedient(self, shown: int | None, *, last: bool | None) -> Fill:
        """Judge a batch that shows another number than the size that its loader states and was set.

        Crops, for example, are a multiple of the samples. Whether the loader obeys what it states
        is found out where no batch of a pass is full.
        """
        multiple = shown is not None and shown % self.size == 0
        return "full" if multiple or last is False else "smaller"

    def _fill(self, found: int) -> tuple[Fill, int]:
        if found == self.size:
            return "full", found
        return ("smaller" if found < self.size else "larger"), found


def counted(count_samples: Callable[[Any], int], batch: Any) -> int:
    """Return what the user's hook counts. Raises HarnessError when it is no whole number."""
    found = _whole(count_samples(batch))
    if found is None:
        raise HarnessError(
            f"count_samples(batch) returned {count_samples(batch)!r}: it must return the number of "
            "samples in the batch, a whole number"
        )
    return found


def _statement(batch: Any) -> int | None:
    """Return the number of samples that a batch states by an attribute, or None."""
    if isinstance(batch, torch.nn.utils.rnn.PackedSequence):
        return int(batch.batch_sizes[0])
    if isinstance(batch, (torch.Tensor, list, tuple, *_NO_FIELDS)):
        return None
    # PyTorch Geometric has the first, DGL and TensorDict the second.
    for name in ("num_graphs", "batch_size"):
        size = _whole(_attribute(batch, name))
        if size is not None:
            return size
    return None


def _walk(thing: Any, dimensions: list[int], lengths: list[int], nesting: int) -> None:
    """Collect the first dimensions of tensors, and the lengths of lists of like things."""
    if nesting > _MAX_NESTING or isinstance(thing, _NO_FIELDS):
        return
    if isinstance(thing, torch.Tensor):
        if thing.ndim:
            dimensions.append(int(thing.size(0)))  # a nested tensor has this size alone
        return
    if hasattr(thing, "shape") and hasattr(thing, "dtype"):
        dimensions.extend(int(length) for length in thing.shape[:1])
        return
    if (stated := _statement(thing)) is not None:
        dimensions.append(stated)
        return
    found = list(members(thing))
    for member in found[:_MAX_MEMBERS]:
        _walk(member, dimensions, lengths, nesting + 1)
    if isinstance(thing, (list, tuple)):
        # The members of a list of samples are alike. Those of a record, an input and its target,
        # may be alike, too; then the tensors in them tell.
        kinds = {(type(member), getattr(member, "ndim", None)) for member in found[:_MAX_MEMBERS]}
        if len(kinds) == 1 and not hasattr(thing, "_fields"):
            lengths.append(len(found))
    elif not isinstance(thing, Mapping) and hasattr(type(thing), "__len__"):
        dimensions.append(len(thing))


def members(thing: Any) -> Iterator[Any]:
    """Yield what lies in a container, or in the attributes of an object."""
    if isinstance(thing, Mapping):
        yield from thing.values()
    elif isinstance(thing, (list, tuple)):
        yield from thing
    else:
        yield from getattr(thing, "__dict__", {}).values()
        for kind in type(thing).__mro__:
            slots = getattr(kind, "__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                yield _attribute(thing, name)


def _attribute(thing: Any, name: str) -> Any:
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property of the user's may raise anything
        return None


def _whole(value: Any) -> int | None:
    """Return a whole number, or the only one of a size of one dimension; None for anything else."""
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, torch.Tensor):
        value = value.item() if value.numel() == 1 and not value.is_floating_point() else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return None
