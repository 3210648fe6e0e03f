"""Defines the three modes of a search: each yields probes and reads their outcomes. Pure.

`power` and `binsearch` are the modes of Lightning's Tuner, but their answer is always a size that
was probed and fits, and they stay between the minimum and the maximum. Once a size fits, `exact`
continues in `harness.search.estimates` or in `harness.search.secant`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.search import estimates
from harness.search.bracket import NextProbe
from harness.search.estimates import safe_size
from harness.search.secant import Secant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.search.bracket import Bracket
    from harness.search.estimates import Estimator

# The largest batch moves by about this share between two runs: the first step down from a locked
# size that no longer fits.
_JITTER = 0.01


def power(bracket: Bracket[Any], init_val: int) -> Iterator[NextProbe]:
    """Yield doubled sizes from `init_val` on, until one fails; the last that fits is the answer."""
    yield from _first_fit(bracket, init_val, divisor=2)
    while bracket.high is None and not bracket.closed:
        yield NextProbe(bracket.clip(2 * bracket.low))


def binsearch(bracket: Bracket[Any], init_val: int) -> Iterator[NextProbe]:
    """Yield doubled sizes until one fails, then bisect until `low` fits and `low + 1` fails."""
    yield from power(bracket, init_val)
    while not bracket.closed:
        yield NextProbe(bracket.middle)


def exact(
    bracket: Bracket[Any],
    init_val: int,
    locked: int | None,
    aim: int | None,
    estimator: Estimator | None,
) -> Iterator[NextProbe]:
    """Yield estimated sizes, or sizes predicted from peaks, until `low` fits and `low + 1` fails.

    Starts at `locked`, or else at `aim`, or else at `init_val`. Without estimates, peaks and a
    memory limit the sizes grow until one fails, and are then bisected.
    """
    if locked is not None:
        yield from _around(bracket, locked)
    elif aim is not None and not bracket.closed:
        aim = bracket.clip(aim)
        yield NextProbe(aim)
        if estimator is not None and bracket.outcome(aim) == "oom" and not bracket.fitting:
            yield NextProbe(bracket.clip(safe_size(aim, bracket.step)), scouting=True)
    for wanted in _first_fit(bracket, init_val, divisor=4):
        # Only the first size of a search without `locked` and `aim` is scouted.
        yield wanted._replace(scouting=bracket.high is None and wanted.size < bracket.maximum)
    if not bracket.fitting:
        return
    if estimator is not None:
        yield from estimates.narrow(bracket, estimator)
    yield from Secant(bracket).narrow()


def _first_fit(bracket: Bracket[Any], init_val: int, divisor: int) -> Iterator[NextProbe]:
    """Yield sizes from `init_val` down until one fits; after an error, yield only the minimum.

    An error at the minimum shows that the workload is broken at every size.
    """
    while not (bracket.fitting or bracket.closed):
        high = bracket.high
        if high is None:
            yield NextProbe(bracket.clip(init_val))
        elif bracket.outcome(high) == "error":
            yield NextProbe(bracket.minimum)
        else:
            yield NextProbe(bracket.clip(min(init_val, high // divisor)))


def _around(bracket: Bracket[Any], locked: int) -> Iterator[NextProbe]:
    """Yield the locked size, then the next one; if it runs out of memory, a size just below."""
    locked = bracket.clip(locked)
    yield NextProbe(locked)
    if bracket.closed:
        return
    if bracket.outcome(locked) == "fits":
        yield NextProbe(bracket.clip(bracket.above(locked) or locked))
    elif bracket.outcome(locked) == "oom":
        yield NextProbe(bracket.clip(locked - math.ceil(_JITTER * locked)))
