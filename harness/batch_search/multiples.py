"""Finds out whether a workload that fails at small batches trains at multiples of some number.

Samplers of P classes with K samples each, pairs and grouped losses ask for such batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.measurement import Probe

# Multiples of all small numbers and of the usual powers of two. The first that has the memory and
# the data decides: if it fails with an error, too, the workload is broken at every size.
_TRIED = (480, 96, 24, 12, 4)
# So many divisors of the size that trains are tried. If none trains, that size is named itself.
_MAX_DIVISORS = 8


def probe_multiples(
    probe: Callable[[int], Probe], failed: set[int], maximum: int
) -> Iterator[Probe]:
    """Yield probes of multiples, the last of which fits if any does; it is the number to set.

    failed: the sizes that have failed with an error.
    """
    for size in _TRIED:
        if size > maximum or size in failed:
            continue
        found = probe(size)
        yield found
        if found.outcome == "error":
            return
        if found.outcome == "fits":
            yield from _divisors(probe, failed, found)
            return


def _divisors(probe: Callable[[int], Probe], failed: set[int], found: Probe) -> Iterator[Probe]:
    size = found.batch_size
    untried = [
        divisor for divisor in range(2, size) if size % divisor == 0 and divisor not in failed
    ]
    for divisor in untried[:_MAX_DIVISORS]:
        tried = probe(divisor)
        yield tried
        if tried.outcome == "fits":
            return
