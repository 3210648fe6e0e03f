"""Iterates over a loader and counts the items that are collated for each batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch.utils.data import DataLoader

Uncounted = Callable[[], AbstractContextManager[None]]
"""Makes a block whose allocations are no part of the case's memory."""

_END = object()


class CountedBatches:
    """Iterates over a loader's batches, each with the number of items that were collated for it.

    The number is None where the loader does not collate as torch's `DataLoader` does. The loader
    itself is not changed: a shallow copy of it, with the same data, sampler and workers' settings,
    is iterated.

    uncounted: the block in which the first pass begins: workers and their threads are started, and
    a sampler makes its first indices. torch's RandomSampler makes a list of all of them.
    """

    def __init__(self, loader: Any, uncounted: Uncounted = nullcontext) -> None:
        self.loader = loader
        self.uncounted = uncounted
        self._copy: Any = None

    def __iter__(self) -> Iterator[tuple[int | None, Any]]:
        if not collates_as_torch(self.loader):
            for batch in self.loader:
                yield None, batch
            return
        beginning: Uncounted = nullcontext
        # A copy's workers live on from pass to pass only if they are persistent.
        if self._copy is None or not self.loader.persistent_workers:
            self._copy = copied = copy.copy(self.loader)
            copied._iterator = None  # noqa: SLF001 - the user's iterator stays the user's
            copied.collate_fn = _CountingCollate(self.loader.collate_fn)
            first: Uncounted = self.uncounted
            if self.loader.num_workers:
                # With workers the first indices are made as soon as the pass begins, and so are
                # threads that write to the workers, each with the stack that `ulimit -s` says.
                first, beginning = nullcontext, self.uncounted
            # torch forbids to set this attribute after the loader is made.
            copied.__dict__["batch_sampler"] = _FirstUncounted(self.loader.batch_sampler, first)
            self.uncounted = nullcontext
        with beginning():
            batches = iter(self._copy)
        yield from batches


def length_of(loader: Any) -> int | None:
    """Return the number of batches of a loader; None for a stream."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        # A stream has no length, and some streams raise NotImplementedError.
        return None


def collates_as_torch(loader: Any) -> bool:
    """Return whether a loader gives collated items just as torch's `DataLoader` does."""
    return (
        isinstance(loader, DataLoader)
        and loader.batch_sampler is not None
        and all(
            getattr(type(loader), name, None) is getattr(DataLoader, name, None)
            for name in ("__iter__", "_get_iterator")
        )
    )


class _CountingCollate:
    """Collates items, and gives their number with the batch. Workers may have to pickle it."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, items: Any) -> tuple[int | None, Any]:
        # A data set with `__getitems__` may give something else than a list.
        return len(items) if isinstance(items, list) else None, self.collate(items)


class _FirstUncounted:
    """A batch sampler that makes its first indices in a given block."""

    def __init__(self, batch_sampler: Any, uncounted: Uncounted) -> None:
        self.batch_sampler = batch_sampler
        self.uncounted = uncounted

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        indices = iter(self.batch_sampler)
        with self.uncounted():
            first = next(indices, _END)
        if first is not _END:
            yield first
            yield from indices
