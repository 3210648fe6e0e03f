"""Knows how large each sample of a loader's data set is, and so which batches are the largest.

Each sample is loaded once, by the loader's own workers. Later probes of the case read a file. With
the sizes known, the batches of many passes are judged by their indices alone.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.loaders.item_sizes import ItemSizes, sizes_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    Matrix = np.ndarray[Any, np.dtype[np.int64]]
    Numbers = np.ndarray[Any, np.dtype[np.float64]]

LOAD_SECONDS = 60.0
"""The samples are loaded for at most so long; those that are left then count as unknown."""
# The first columns of a row; the dimensions of the sample's leaves follow.
_ELEMENTS, _BYTES, _LONGEST, _FIRST_DIMENSION = range(4)
# A sample with more dimensions is judged by its elements alone.
_MAX_DIMENSIONS = 64
_CHUNK = 16
# So many samples are loaded twice, to see whether their sizes are drawn anew each time.
_TWICE = 16
# So many values of samples are judged at a time.
_BLOCK = 1 << 22


class UnsteadySizesError(Exception):
    """The sizes of samples are not known beforehand: they change, or samples come in no list."""


class SampleSizes:
    """The sizes of the samples of one loader, by their indices.

    key: tells this loader from others, for the file in the case's scratch folder.
    """

    def __init__(self, loader: Any, key: str) -> None:
        self._loader = loader
        self._rows: dict[Hashable, int] = {}
        self._table: Matrix = np.zeros((1, _FIRST_DIMENSION), np.int64)
        self._ndims: tuple[int, ...] | None = None
        self._left = LOAD_SECONDS
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._file = Path(tempfile.gettempdir()) / f"sample-sizes-{digest}.npz"
        self._read()

    @property
    def num_known(self) -> int:
        """The number of samples whose sizes are known."""
        return len(self._rows)

    @property
    def may_learn(self) -> bool:
        """Whether there is time left to load samples."""
        return self._left > 0

    def learn(self, indices: Iterable[Hashable]) -> None:
        """Load the samples that are not known yet, in a random order, as long as there is time.

        Raises UnsteadySizesError where the sizes of samples cannot be known beforehand.
        """
        unknown = [index for index in indices if index not in self._rows]
        if not unknown:
            return
        order = np.random.default_rng(0).permutation(len(unknown))
        wanted = [unknown[position] for position in order]
        started = time.monotonic()
        found: list[tuple[Hashable, ItemSizes]] = []
        twice = wanted[:_TWICE] if not self._rows else []
        # One by one at first: a sample may take seconds, and the clock is read after each chunk.
        chunks = [[index] for index in (*twice, *wanted[:_CHUNK])]
        chunks += [wanted[at : at + _CHUNK] for at in range(_CHUNK, len(wanted), _CHUNK)]
        for chunk, sizes in zip(chunks, _loaded(self._loader, chunks), strict=False):
            if sizes is None or len(sizes) != len(chunk):
                raise UnsteadySizesError
            found += zip(chunk, sizes, strict=True)
            if time.monotonic() - started > self._left:
                break
        first = dict(found[: len(twice)])
        if any(first.get(index, sizes) != sizes for index, sizes in found[len(twice) :]):
            raise UnsteadySizesError
        self._left -= time.monotonic() - started
        self._add(dict(found))
        self._write()

    def measure(self, batches: Sequence[Sequence[Hashable]]) -> tuple[Numbers, Numbers, Numbers]:
        """Return of each batch its padded elements, its sum of bytes, and its longest side.

        The batches have one length. Samples that are unknown count as nothing.
        """
        rows = [[self._rows.get(index, 0) for index in batch] for batch in batches]
        indices = np.array(rows, np.int64)
        most, total = [], []
        step = max(1, _BLOCK // (indices.shape[1] * self._table.shape[1]))
        for at in range(0, len(indices), step):
            values = self._table[indices[at : at + step]]
            most.append(values.max(axis=1))
            total.append(values.sum(axis=1)[:, _BYTES])
        largest = np.concatenate(most)
        padded = indices.shape[1] * self._elements(largest)
        return padded, np.concatenate(total).astype(float), largest[:, _LONGEST].astype(float)

    def bounds(self, batch_size: int) -> tuple[float, float]:
        """Return the padded elements and the sum of bytes that no batch of known samples exceeds.

        They are those of as many samples of the largest size, and of as many of the largest.
        """
        padded = batch_size * float(self._elements(self._table.max(axis=0, keepdims=True))[0])
        return padded, float(np.sort(self._table[:, _BYTES])[-batch_size:].sum())

    def _elements(self, largest: Matrix) -> Numbers:
        """Return the elements of a sample that is padded to the largest dimensions of some."""
        if not self._ndims:
            return largest[:, _ELEMENTS].astype(float)
        elements = np.zeros(len(largest))
        at = _FIRST_DIMENSION
        for ndim in self._ndims:
            elements += largest[:, at : at + ndim].astype(float).prod(axis=1)
            at += ndim
        return elements

    def _add(self, found: dict[Hashable, ItemSizes]) -> None:
        ndims = {tuple(map(len, sizes.leaves)) for sizes in found.values()}
        if self._rows:
            ndims.add(self._ndims or ())
        (same,) = ndims if len(ndims) == 1 else ((),)
        if sum(same) > _MAX_DIMENSIONS:
            same = ()
        if self._rows and same != self._ndims:
            self._table = self._table[:, :_FIRST_DIMENSION]
        self._ndims = same
        made = np.zeros((len(found), _FIRST_DIMENSION + sum(same)), np.int64)
        for row, sizes in zip(made, found.values(), strict=True):
            row[:_FIRST_DIMENSION] = sizes.num_elements, sizes.num_bytes, sizes.longest
            if same:
                row[_FIRST_DIMENSION:] = [length for leaf in sizes.leaves for length in leaf]
        table = self._table if self._rows else np.zeros((1, made.shape[1]), np.int64)
        self._rows |= {index: len(table) + number for number, index in enumerate(found)}
        self._table = np.concatenate([table, made])

    def _read(self) -> None:
        """Read what an earlier probe of the case has learned."""
        with suppress(OSError, ValueError, KeyError), np.load(self._file) as kept:
            header = json.loads(bytes(kept["header"]).decode())
            if header["samples"] != _length(self._loader.dataset):
                return
            self._ndims, self._left = tuple(header["ndims"]), header["left"]
            self._table = kept["table"]
            self._rows = {int(index): row for row, index in enumerate(kept["indices"], 1)}

    def _write(self) -> None:
        """Write what is known for later probes, where indices are numbers."""
        if not all(type(index) is int for index in self._rows):
            return
        header = {
            "samples": _length(self._loader.dataset),
            "ndims": self._ndims,
            "left": self._left,
        }
        with suppress(OSError):  # later probes load the samples again
            np.savez(
                self._file,
                header=np.frombuffer(json.dumps(header).encode(), np.uint8),
                table=self._table,
                indices=np.array(list(self._rows), np.int64),
            )


def with_batches(loader: Any, batch_sampler: Any) -> Any:
    """Return a shallow copy of a loader, with the same data and workers' settings.

    batch_sampler: gives the lists of indices in place of the loader's own.
    """
    copied = copy.copy(loader)
    copied._iterator = None  # noqa: SLF001 - the user's iterator stays the user's
    # torch forbids to set this attribute after the loader is made.
    copied.__dict__["batch_sampler"] = batch_sampler
    return copied


def _loaded(loader: Any, chunks: list[list[Hashable]]) -> Iterator[list[ItemSizes] | None]:
    """Yield the sizes of the samples in each chunk; None where they come in no list."""
    copied = with_batches(loader, chunks)
    copied.collate_fn = _sizes_of_items
    copied.pin_memory = False
    yield from copied


def _sizes_of_items(items: Any) -> list[ItemSizes] | None:
    return [sizes_of(item) for item in items] if isinstance(items, list) else None


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except Exception:  # noqa: BLE001 - it has none, or the user's own does not work
        return None
