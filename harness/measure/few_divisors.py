"""Warns where a global batch has so few divisors that its largest micro-batch says little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.global_batch.divisors import divisors

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.matrix.case import Case

# Between the divisors of usual global batches, such as 96 or 1000, lies a factor of 2 or less.
_FAR = 4
# A multiple of it has divisors close together: each power of two, at least.
_COARSE, _FINE, _LARGE = 64, 8, 256


def warn_of_few_divisors(case: Case, found: FoundBatch) -> tuple[str, ...]:
    """Warn where memory ends the search far below the next divisor of the global batch."""
    total, largest = case.search.global_batch_size, found.max_batch_size
    if total is None or not largest or found.bounded_by != "memory":
        return ()
    above = next((one for one in divisors(total) if one > largest), None)
    if above is None or above < _FAR * largest:
        return ()
    unit = _COARSE if total >= _LARGE else _FINE
    below = total - total % unit
    name = "global_batch_size" if case.num_ranks == 1 else "a rank's share in global_batch_size,"
    near = " or ".join(str(one) for one in (below, below + unit) if one)
    return (
        (
            f"{name} {total} has no divisor between {largest} and {above}, so batch "
            f"{largest} may be far below what the memory allows: take a number with more divisors, "
            f"such as {near}"
        ),
    )
