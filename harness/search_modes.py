"""The three ways to search: each yields what to try next, and reads the outcome in the bracket. Pure.

`power` and `binsearch` mean what they mean in Lightning's Tuner, but they end only on a size that was run and
fits, and stay between the minimum and the maximum. `exact` is in `harness.secant` once a size fits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.bracket import Attempt
from harness.secant import Secant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.bracket import Bracket

# First step down from a locked size that no longer fits, as a share of it: the jitter between two runs.
_JITTER = 0.01


def power(bracket: Bracket[Any], init_val: int) -> Iterator[Attempt]:
    """Double from `init_val` until a size fails; end on the last one that fits."""
    yield from _first_fit(bracket, init_val, divisor=2)
    while bracket.high is None and not bracket.closed:
        yield Attempt(bracket.clip(2 * bracket.low))


def binsearch(bracket: Bracket[Any], init_val: int) -> Iterator[Attempt]:
    """Double from `init_val` until a size fails, then bisect until `low` fits and `low + 1` fails."""
    yield from power(bracket, init_val)
    while not bracket.closed:
        yield Attempt(bracket.middle)


def exact(bracket: Bracket[Any], init_val: int, locked: int | None, aim: int | None) -> Iterator[Attempt]:
    """Predict the maximum from peaks and bracket it, until `low` fits and `low + 1` fails.

    Starts at `locked`, else at `aim`, else at `init_val`. Without peaks or a limit it grows, then bisects.
    """
    if locked is not None:
        yield from _around(bracket, locked)
    elif aim is not None:
        yield Attempt(bracket.clip(aim))
    for attempt in _first_fit(bracket, init_val, divisor=4):
        # The first of the two small sizes that every cold search begins with.
        yield attempt._replace(scouting=bracket.high is None and attempt.size < bracket.maximum)
    if bracket.fitting:
        yield from Secant(bracket).narrow()


def _first_fit(bracket: Bracket[Any], init_val: int, divisor: int) -> Iterator[Attempt]:
    """Descend from `init_val` until a size fits; after an error, only the minimum tells what is broken."""
    while not (bracket.fitting or bracket.closed):
        high = bracket.high
        if high is None:
            yield Attempt(bracket.clip(init_val))
        elif bracket.outcome(high) == "error":
            yield Attempt(bracket.minimum)
        else:
            yield Attempt(bracket.clip(min(init_val, high // divisor)))


def _around(bracket: Bracket[Any], locked: int) -> Iterator[Attempt]:
    """Try the locked size and the one above; if it no longer fits, one just below."""
    locked = bracket.clip(locked)
    yield Attempt(locked)
    if bracket.closed:
        return
    if bracket.outcome(locked) == "fits":
        yield Attempt(locked + 1)
    elif bracket.outcome(locked) == "oom":
        yield Attempt(bracket.clip(locked - math.ceil(_JITTER * locked)))
