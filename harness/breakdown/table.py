"""Makes the table that a lock keeps, from what two batch sizes hold at their peaks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from harness.measurement import LOCKED_HOLDERS

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHERS = "other modules"
"""Stands for the modules that the table does not name."""

# People read the table: less than this share of all says nothing, and is with the others.
_LEAST_SHARE = 0.001
_OUTSIDE = "outside of all modules"


class Table(NamedTuple):
    """The memory that is held at the peak of a batch size: a part for all, and one a sample."""

    memory: dict[str, int]
    """Bytes whatever the batch, by holder; all bytes where nothing is known of the samples."""
    per_sample: dict[str, int]
    """Bytes for each sample, by holder; empty where that is not known."""


def make_table(
    held: Mapping[str, int],
    batch_size: int,
    smaller: Mapping[str, int] | None = None,
    smaller_size: int = 0,
) -> Table:
    """Return the table of a batch size, of which people read the largest holders.

    held: bytes by holder, such as `activation of layers.0`, at the peak of `batch_size`.
    smaller: the same of `smaller_size`; None where only one size was trained.

    The parts of a holder add up to its bytes at `batch_size`, and none is negative.
    """
    if smaller is None:
        return Table(_largest(held), {})
    # A holder of the smaller batch may be none here: the peak may be at another place there.
    compact = _largest(held)
    then = _as_named(smaller, compact)
    memory, per_sample = {}, {}
    for name, size in compact.items():
        slope = max(0, (size - then[name]) // (batch_size - smaller_size))
        slope = min(slope, size // batch_size)
        if slope:
            per_sample[name] = slope
        if size > slope * batch_size:
            memory[name] = size - slope * batch_size
    return Table(memory, per_sample)


def smaller_batch(batch_size: int, *, step: int, least: int) -> int | None:
    """Return the second batch size that a table is made of: half, and None where there is none.

    step: what batch sizes are multiples of. least: the smallest that is allowed.
    """
    smaller = max(batch_size // 2 // step * step, least)
    return smaller if smaller < batch_size else None


def kind_of(name: str) -> str:
    """Return the kind of a holder: `activation of layers.0` is an activation."""
    return _parts(name)[0]


def module_of(name: str) -> str:
    """Return the module of a holder; empty where its kind is counted as a whole."""
    return _parts(name)[1]


def _parts(name: str) -> tuple[str, str]:
    kind, separator, _ = name.partition(f" {_OUTSIDE}")
    if separator:
        return kind, _OUTSIDE
    kind, _, module = name.partition(" of ")
    return kind, module


def _largest(held: Mapping[str, int]) -> dict[str, int]:
    """Return the largest holders, and the others of each kind in one."""
    ordered = sorted(held, key=lambda name: (-held[name], name))
    whole = [name for name in ordered if not module_of(name)]
    least = _LEAST_SHARE * sum(held.values())
    named = [name for name in ordered if module_of(name) and held[name] >= least][:LOCKED_HOLDERS]
    return dict(_as_named(held, dict.fromkeys([*whole, *named], 0)))


def _as_named(held: Mapping[str, int], names: Mapping[str, int]) -> Counter[str]:
    """Return bytes by these names; what has none of them is of the other modules."""
    sums: Counter[str] = Counter()
    for name, size in held.items():
        known = name in names or not module_of(name)
        sums[name if known else f"{kind_of(name)} of {OTHERS}"] += size
    return +sums
