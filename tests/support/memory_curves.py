"""Memory as a function of the batch size, for searches that run no probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measurement import Outcome
    from harness.search.search import SearchResult

MiB = 2**20
LIMIT = 1000 * MiB


@dataclass(frozen=True)
class Tried:
    """A minimal result of a probe."""

    outcome: Outcome
    peak_memory_bytes: int | None = None


def affine(largest: int, base: float = 0.2) -> Callable[[int], Tried]:
    """Return a probe with affine memory from `base` times the limit; `largest` is the maximum."""
    slope = LIMIT * (1 - base) / (largest + 0.5)

    def probe(batch_size: int) -> Tried:
        memory = int(LIMIT * base + slope * batch_size)
        return Tried("fits", memory) if memory <= LIMIT else Tried("oom", LIMIT)

    return probe


def above(bound: int, outcome: Outcome, probe: Callable[[int], Tried]) -> Callable[[int], Tried]:
    """Return `probe`, but with `outcome` from the size `bound` on."""
    return lambda batch_size: Tried(outcome) if batch_size >= bound else probe(batch_size)


def sizes(result: SearchResult[Tried]) -> list[int]:
    """Return the sizes that were tried, in order."""
    return [size for size, _ in result.probes]
