"""Finds the worst batches of a training's loaders: those that take the most memory.

A batch of padded texts is as large as its longest text, packed graphs are as large as their sum,
and some networks are driven by the largest side. So three batches are found: the largest by padded
elements, by the sum of bytes, and by the longest dimension of any tensor. Where the data set gives
samples by index, the passes of the sampler are walked without loading anything; else a pass over
the loader's own batches is.
"""

from __future__ import annotations

import copy
import json
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.loaders.batch_counts import BatchCounter, stated_batch_size
from harness.loaders.counted_batches import CountedBatches, collates_as_torch, length_of
from harness.loaders.full_batches import LENGTH, length_of_pass
from harness.loaders.item_sizes import sizes_of
from harness.loaders.replaced_loaders import combined
from harness.loaders.sample_sizes import SampleSizes, UnsteadySizesError, with_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.loaders.sample_sizes import Numbers
    from harness.workload.build import Workload

    Batches = list[list[Any]]

# So many passes are walked by indices, for at most so long. Each is what an epoch would be.
_PASSES, _PASSES_SECONDS = 100, 4.0
# And one pass is walked by loading its batches, for at most so long.
_BATCHES_SECONDS = 20.0
# The data set is loaded as a whole where a pass has at least this share of it.
_MOST = 0.5
_HOOK = (
    "search.worst_batches has no effect here: probes trained on worst_case_batch of the data; "
    "remove that method, or the setting"
)
# Where batches stand among those of a pass, by size, that are trained on before the worst.
_SMALLER = (0.0, 0.25, 0.5, 0.75)
# New indices are loaded in so many passes at most: each starts the loader's workers anew.
_MAX_LESSONS = 3


@dataclass
class Found:
    """The worst batches of one loader."""

    indices: Batches = field(default_factory=list)
    """The indices of their samples; some smaller batches come first."""
    kept: list[Any] = field(default_factory=list)
    """The batches themselves, where they cannot be told by indices."""
    note: str | None = None

    def in_place_of(self, loader: Any, own_batches: Callable[[Any], Any], *, endless: bool) -> Any:
        """Return what gives these batches in turn.

        own_batches: makes the batches of a probe from a loader.
        endless: else each of these comes once, and then a pass of the loader's own.
        """
        if not self.kept:
            own = None if endless else loader.batch_sampler
            return own_batches(with_batches(loader, _SizedInTurn(self.indices, own)))
        own = None if endless else own_batches(loader)
        sized = endless or length_of(own) is not None
        return (_SizedInTurn if sized else _InTurn)(self.kept, own, copy.deepcopy)


class WorstBatches:
    """The worst batches of a training at one batch size.

    They are found before the memory is bounded, so that walking a pass is no part of it.
    """

    def __init__(self, workload: Workload, batch_size: int) -> None:
        self.workload = workload
        self.batch_size = batch_size
        self.loaders: dict[int, Found] = {}
        """What was found, by the position of the loader; one without full batches is left out."""

    def find(self, mode: str) -> None:
        """Walk the loaders, which are made once more for it; `mode` combines several."""
        workload = self.workload
        if workload.worst_case_batch is not None:
            self.loaders[0] = Found(note=_HOOK)
            return
        with _random_states():
            loaders = combined(workload.lightning, workload.loader_owner.train_dataloader(), mode)
            several = len(loaders.flattened) > 1
            for position, loader in enumerate(loaders.flattened):
                size = (stated_batch_size(loader) if several else None) or self.batch_size
                hook = None if several else workload.count_samples
                key = json.dumps([position, workload.spec], sort_keys=True, default=str)
                found = find_worst(loader, size, key, hook)
                if found is not None:
                    self.loaders[position] = found

    def notes(self) -> list[str]:
        """Return how the batches were found, in words."""
        return [found.note for found in self.loaders.values() if found.note is not None]


def find_worst(
    loader: Any, batch_size: int, key: str, count_samples: Callable[[Any], int] | None = None
) -> Found | None:
    """Return the worst batches of a loader; None where a pass has no full batch.

    key: tells this loader from others of the case.
    count_samples: the user's hook. Then an item need not be a sample, and batches are loaded.
    """
    if collates_as_torch(loader) and _by_index(loader.dataset) and count_samples is None:
        try:
            return _by_passes(loader, batch_size, SampleSizes(loader, key))
        except UnsteadySizesError:
            pass
    return _by_batches(loader, batch_size, count_samples)


class _InTurn:
    """Gives batches, or the lists of their indices, in turn; or once each, and then `own`.

    each: what is given in place of each. Of a kept batch it is a copy: that one is in the memory of
    the training.
    """

    def __init__(self, batches: list[Any], own: Any, each: Callable[[Any], Any] = list) -> None:
        self.batches = batches
        self.own = own
        self.each = each

    def __iter__(self) -> Iterator[Any]:
        if self.own is None:
            return map(self.each, islice(cycle(self.batches), LENGTH))
        return chain(map(self.each, self.batches), self.own)


class _SizedInTurn(_InTurn):
    """The same with a length, for which Lightning fetches no batch ahead."""

    def __len__(self) -> int:
        return LENGTH if self.own is None else len(self.batches) + len(self.own)


def _by_index(dataset: Any) -> bool:
    return hasattr(dataset, "__getitem__") and not isinstance(
        dataset, torch.utils.data.IterableDataset
    )


def _by_passes(loader: Any, batch_size: int, sizes: SampleSizes) -> Found | None:
    """Walk passes of the sampler by indices. Raises UnsteadySizesError where they do not tell."""
    worst = _Worst()
    before: Batches = []
    num_batches = num_passes = lessons = 0
    # Loading samples has seconds of its own.
    until = time.monotonic() + _PASSES_SECONDS
    ended = True
    for number in range(_PASSES):
        _set_epoch(loader, number)
        lists, ended = _walked(loader.batch_sampler, until)
        batches = [batch for batch in lists if len(batch) == batch_size]
        if not batches or batches == before:  # a sampler that does not shuffle
            break
        if lessons < _MAX_LESSONS and sizes.may_learn:
            known, begun = sizes.num_known, time.monotonic()
            sizes.learn(_samples_of(loader, lists))
            until += time.monotonic() - begun
            lessons += sizes.num_known > known or not number
        num_passes, num_batches = num_passes + 1, num_batches + len(batches)
        worst.add(batches, sizes.measure(batches))
        if not ended or time.monotonic() > until:
            break
        before = batches
    if not num_batches:
        return None
    total = length_of(loader.dataset) or sizes.num_known
    passes = "a pass" if num_passes == 1 else f"{num_passes} passes"
    if not ended:
        passes = "the first part of a pass" if num_passes == 1 else f"{passes}, the last in part"
    partly = (
        "" if sizes.num_known >= total else f", with {sizes.num_known} of {total} samples known"
    )
    padded, summed = (
        f"{min(1.0, value / bound if bound else 1.0):.0%}"
        for value, bound in zip(worst.values, sizes.bounds(batch_size), strict=False)
    )
    note = (
        f"trained on the worst of {num_batches} batches of {passes}{partly}: the largest has "
        f"{padded} of the padded elements, and {summed} of the bytes, that {batch_size} of the "
        "largest samples would have"
    )
    return Found(indices=worst.in_order(), note=note)


def _walked(batch_sampler: Any, until: float) -> tuple[Batches, bool]:
    """Return the batches of a pass, and whether it ended in time: it may be long, or endless."""
    lists: Batches = []
    for batch in batch_sampler:
        if time.monotonic() > until and lists:
            return lists, False
        lists.append(_hashable(batch))
    return lists, True


class _Worst:
    """The worst batches so far, and some of the first pass that are smaller."""

    def __init__(self) -> None:
        self.values = [-1.0] * 3
        self._worst: Batches = [[]] * 3
        self._smaller: Batches = []

    def add(self, batches: Batches, measured: tuple[Numbers, ...]) -> None:
        """Add batches, with the measures of each."""
        padded = measured[0]
        if not self._smaller:
            order = np.argsort(padded, kind="stable")
            self._smaller = [batches[order[int(share * len(order))]] for share in _SMALLER]
        for number, values in enumerate(measured):
            if values.max() > self.values[number]:
                # Of those that are alike, the one that is larger by another measure, too.
                (alike,) = np.nonzero(values == values.max())
                other = measured[0 if number else 1]
                self.values[number] = float(values.max())
                self._worst[number] = batches[alike[np.argmax(other[alike])]]

    def in_order(self) -> Batches:
        """Return the batches, each once: smaller ones first, and the largest padded one last.

        On a GPU that is the order that takes the most: a larger batch does not fit into the blocks
        that smaller ones leave.
        """
        padded, summed, longest = self._worst
        distinct: Batches = []
        for batch in (padded, longest, summed, *reversed(self._smaller)):
            if batch not in distinct:
                distinct.append(batch)
        return distinct[::-1]


def _samples_of(loader: Any, batches: Batches) -> list[Any]:
    """Return the indices to load: those of a pass, or all of a data set that it has most of."""
    seen = dict.fromkeys(index for batch in batches for index in batch)
    total = length_of(loader.dataset)
    numbers = all(isinstance(index, int) for index in seen)
    if numbers and total and len(seen) >= _MOST * total and max(seen) < total and min(seen) >= 0:
        return list(range(total))
    return list(seen)


def _hashable(batch: Any) -> list[Any]:
    """Return a batch of indices as a list. Raises UnsteadySizesError where they are no keys."""
    try:
        indices = batch.tolist() if isinstance(batch, (torch.Tensor, np.ndarray)) else list(batch)
        hash(tuple(indices))
    except TypeError as error:
        raise UnsteadySizesError from error
    return indices


def _set_epoch(loader: Any, number: int) -> None:
    """Begin a pass as Lightning does: samplers may shuffle by the number of the epoch."""
    batches = loader.batch_sampler
    for sampler in {id(one): one for one in (batches, getattr(batches, "sampler", None))}.values():
        set_epoch = getattr(sampler, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(number)


def _by_batches(
    loader: Any, batch_size: int, count_samples: Callable[[Any], int] | None
) -> Found | None:
    """Walk a pass over the batches of a loader, and keep the worst of them."""
    counter = BatchCounter(batch_size, stated_batch_size(loader), count_samples)
    length = length_of_pass(loader)
    until = time.monotonic() + _BATCHES_SECONDS
    kept: dict[str, tuple[float, int, Any]] = {}
    number = 0
    ended = True
    for number, (items, batch) in enumerate(CountedBatches(loader), 1):
        fill, _ = counter(batch, items, last=None if length is None else number >= length)
        if fill == "full":
            sizes = sizes_of(batch)
            measures = {
                "smallest": -sizes.num_elements,
                "elements": sizes.num_elements,
                "bytes": sizes.num_bytes,
                "longest": sizes.longest,
            }
            for name, value in measures.items():
                if name not in kept or value > kept[name][0]:
                    kept[name] = (value, number, batch)
        if time.monotonic() > until:
            ended = False
            break
    if not kept:
        return None
    # As in `_Worst.in_order`: the largest comes last.
    order = ("smallest", "bytes", "longest", "elements")
    distinct = {at: batch for _, at, batch in (kept[name] for name in order)}
    seen = f"the {number} batches of a pass" if ended else f"the first {number} batches"
    return Found(kept=list(distinct.values()), note=f"trained on the worst of {seen}")


@contextmanager
def _random_states() -> Iterator[None]:
    """Give the generators their states back: the training draws what it would have drawn."""
    numpy = np.random.get_state()  # noqa: NPY002 - the user's transforms may use the global one
    states = torch.random.get_rng_state(), random.getstate()
    try:
        yield
    finally:
        torch.random.set_rng_state(states[0])
        np.random.set_state(numpy)  # noqa: NPY002 - likewise
        random.setstate(states[1])
