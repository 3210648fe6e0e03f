"""Searches with estimates: the allocations of a size that fits tell which is the largest. Pure.

Near its limit CUDA's allocator empties its cache, so that the peak of reserved bytes stands still
while larger batches still fit: no line through peaks leads to the maximum there. An estimate by
the allocations themselves does. The rule:

1. A size of a few samples tells roughly how many fit. Scout three quarters of that: a prime number,
   because then the blocks that hold samples can be told from all others.
2. Try the estimate of the largest size that fits, and then its neighbour: above it if it fits,
   below it if not. A new fit makes a new estimate, of a closer maximum. cuDNN takes a plan with a
   smaller workspace where its first one does not fit, so that each estimate may be too low: after a
   few of those, go on by strides that double.
3. If the estimate fails, step back by a share of the way that it has bridged: a fit near the
   maximum makes an estimate that is right. If that fails, too, step twice as far, but never beyond
   the middle of the bracket.

As a rule the sizes are 2, the prime, B and B + 1.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.search.bracket import NextProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.search.bracket import Bracket

# The share of a rough estimate, or of an aim that failed, that should fit.
_SAFE_SHARE = 0.75
# An estimate is wrong by about this share of the way from the size that it comes from.
_ERROR = 0.03
# After this number of tried estimates a bracket is bisected.
_MAX_AIMS = 4
# After this number of estimates that all fit, with nothing yet that fails, the way is taken in
# strides that double: a library that asks for less where memory is short lets each be exceeded.
_MAX_MODEST = 3


class Estimate(NamedTuple):
    """The largest size that fits, by the allocations of a smaller one."""

    size: int
    rough: bool
    """Whether it shows only where to look next."""


if TYPE_CHECKING:
    Estimator = Callable[[int, int], Estimate | None]
    """Takes a size that fits and one that is too large; returns None if it cannot tell."""


def narrow(bracket: Bracket[Any], estimator: Estimator) -> Iterator[NextProbe]:
    """Yield probes until the bracket is closed or the estimator cannot tell; one size must fit."""
    source = aims = stride = beyond = 0
    estimate: Estimate | None = None
    while not bracket.closed:
        low, high = bracket.low, bracket.high
        if not bracket.fitting:
            return
        if bracket.doubtful:
            yield NextProbe(low)
            continue
        if source != low:
            source, stride = low, 0
            estimate = estimator(low, bracket.maximum + bracket.step if high is None else high)
        if estimate is None:
            return
        if high is None:
            safe = safe_size(estimate.size, bracket.step)
            scouting = estimate.rough and safe > low
            size = safe if scouting else estimate.size
            # More may fit than estimated. If that goes on, the estimates are no help.
            exceeded = aims >= _MAX_MODEST
            first = max(bracket.step, round(_ERROR * low)) if exceeded else bracket.step
            beyond = 2 * beyond or first if exceeded or size <= low else 0
            aims += not scouting
            yield NextProbe(bracket.clip(max(size, low + beyond)), scouting)
        elif estimate.rough or bracket.outcome(high) != "oom" or aims > _MAX_AIMS:
            yield NextProbe(bracket.middle)
        elif estimate.size < high and not stride:
            aims, stride = aims + 1, 1
            yield NextProbe(bracket.clip(estimate.size))
        elif aims > 1:
            yield NextProbe(bracket.middle)
        else:
            stride = max(bracket.step, 2 * stride, round(_ERROR * (estimate.size - low)))
            yield NextProbe(max(bracket.clip(high - stride), bracket.middle))


def safe_size(size: int, step: int = 1) -> int:
    """Return a size that should fit if `size` almost does: the prime at or below a share of it.

    step: where sizes are its multiples, the result is a prime times it.
    """
    wanted = max(1, int(_SAFE_SHARE * (size // step)))
    return step * next((prime for prime in range(wanted, 4, -1) if _is_prime(prime)), wanted)


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, isqrt(number) + 1))
