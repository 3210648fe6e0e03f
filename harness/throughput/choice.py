"""Chooses the smallest batch size whose samples/s cannot be told from the best. Pure.

A size is *worse* than the best if it is slower by more than the floor, with all of the interval in
which their difference lies, and *as good* if it is not, with all of the interval. Between the two
more rounds are needed. At the limit of rounds a size passes if it is slower by no more than the
floor or, where that is larger, one standard error of the comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.throughput.rounds import Difference, Rounds

FLOOR = 0.02
"""A size that is slower than the best by at most this share is as good as the best."""
LEAST_ROUNDS = 5
MOST_ROUNDS = 10

# A size needs no further round if all of its speeds are below this share of the best: of one round,
# and of more. A disturbed round is not so slow.
_GROSS = {1: 0.4, 2: 0.7}

# More than one round that is off by so many standard deviations is no outlier: it must be explained
# by further rounds.
_FAR = 3.0

Judgement = Literal["worse", "as good", "undecided"]


@dataclass(frozen=True)
class Choice:
    """What a comparison of sizes has found."""

    batch_size: int
    best: int
    """The size with the most samples/s."""
    slower: float
    """By which share the chosen size is slower than the best."""
    uncertainty: float
    """By how much that share may be off."""
    without_lock: int
    """The size that is chosen where none is locked."""


def sizes_to_time(sizes: Sequence[int], rounds: Rounds, locked: int | None = None) -> list[int]:
    """Return the sizes to time in the next round; none if the choice is made.

    sizes: the candidates, smallest first.
    locked: one of them which stays unless it is worse, or a smaller one as good.
    """
    if len(sizes) < 2 or len(rounds) >= MOST_ROUNDS:  # noqa: PLR2004 - a comparison needs two
        return []
    if not len(rounds):
        return list(sizes)
    judged = _judged(sizes, rounds)
    left = [size for size in sizes if judged[size] != "worse"]
    good = next((size for size in left if judged[size] == "as good"), None)
    if len(rounds) < LEAST_ROUNDS or good is None:
        return left
    stays = locked in left and judged[locked] == "as good"
    unsure = [] if stays else [size for size in left if size < good]
    if not unsure:
        return []
    best = _best(sizes, rounds)
    return sorted({*unsure, good, best, *([locked] if locked in left else [])})


def choose(sizes: Sequence[int], rounds: Rounds, locked: int | None = None) -> Choice:
    """Return the smallest size that cannot be told from the best.

    A locked size stays unless it is worse, or a smaller one as good: else it would change with the
    noise where a size is slower than the best by about the floor.
    """
    best, judged = _best(sizes, rounds), _judged(sizes, rounds)
    passing = [
        size
        for size in sizes
        if judged[size] != "worse" and _passes(_difference(size, best, sizes, rounds))
    ]
    chosen = smallest = passing[0]
    if locked is not None and judged.get(locked, "worse") != "worse":
        stays = locked < smallest or judged[smallest] != "as good"
        chosen = locked if stays else smallest
    found = _difference(chosen, best, sizes, rounds)
    slower = 1 - math.exp(found.centre)
    return Choice(chosen, best, slower, found.uncertainty, smallest)


def _passes(found: Difference) -> bool:
    return -found.centre <= max(-math.log1p(-FLOOR), found.error)


def _judged(sizes: Sequence[int], rounds: Rounds) -> dict[int, Judgement]:
    best = _best(sizes, rounds)
    return {size: _judge(size, best, sizes, rounds) for size in sizes}


def _judge(size: int, best: int, sizes: Sequence[int], rounds: Rounds) -> Judgement:
    found = _difference(size, best, sizes, rounds)
    values = rounds.logarithms(size, best)
    if max(values) < math.log(_GROSS[min(len(values), max(_GROSS))]):
        return "worse"
    if found.num_rounds < LEAST_ROUNDS:
        return "undecided"
    floor, far = math.log1p(-FLOOR), _FAR * found.spread
    low, high = sorted(values)[1], sorted(values)[-2]
    if found.centre + found.uncertainty < floor and high < floor + far:
        return "worse"
    if found.centre - found.uncertainty >= floor and low >= floor - far:
        return "as good"
    return "undecided"


def _difference(size: int, best: int, sizes: Sequence[int], rounds: Rounds) -> Difference:
    return rounds.difference(size, best, sizes)


def _best(sizes: Sequence[int], rounds: Rounds) -> int:
    """Return the fastest of the sizes that were timed in every round.

    All of them have the same rounds, so the one that was disturbed least does not win.
    """
    timed = [size for size in sizes if len(rounds.of(size)) == len(rounds)]
    reference = timed[-1]
    return max(timed, key=lambda size: rounds.difference(size, reference, timed).centre)
