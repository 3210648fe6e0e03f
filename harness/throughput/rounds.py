"""Keeps the speeds of batch sizes, timed in rounds, and compares them. Pure.

All sizes of a round are timed one after another, so noise of the machine that lasts as long as a
round hits all of them. Two sizes are therefore compared round by round, by the ratios of their
speeds. Medians and pairs of rounds make the estimates: a round that something disturbed moves them
little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING

from harness.measurement import Speed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# The median of |x - y| for two draws of a normal distribution, in its standard deviations.
_PAIR = 0.954
# The standard error of a median, in standard errors of a mean.
_MEDIAN = 1.2533
# Half the width of an interval in standard errors. 2 would be 95% if the spread were known; it is
# estimated from a few rounds.
_ERRORS = 2.5
# No spread is believed to be smaller: a few rounds may agree by chance.
_LEAST_SPREAD = 0.002


@dataclass(frozen=True)
class Difference:
    """How much faster one size is than another, as the logarithm of the ratio of their speeds."""

    centre: float
    spread: float
    """The standard deviation from round to round."""
    num_rounds: int

    @property
    def error(self) -> float:
        """The standard error of the centre, which is a median."""
        return _MEDIAN * self.spread / math.sqrt(self.num_rounds)

    @property
    def uncertainty(self) -> float:
        """Half the width of the interval in which the centre lies."""
        return _ERRORS * self.error


class Rounds:
    """The speeds of the sizes that were timed, round by round, in samples/s."""

    def __init__(self, rounds: Iterable[Mapping[int, float]] = ()) -> None:
        self._rounds = [dict(one) for one in rounds]

    def __len__(self) -> int:
        return len(self._rounds)

    def add(self, speeds: Mapping[int, float]) -> None:
        """Add a round: the speed of each size that was timed in it."""
        self._rounds.append(dict(speeds))

    def of(self, size: int) -> list[float]:
        """Return the speeds of a size."""
        return [one[size] for one in self._rounds if size in one]

    def logarithms(self, size: int, other: int) -> list[float]:
        """Return how much faster `size` was than `other` in each round that has both."""
        return [
            math.log(one[size] / one[other]) for one in self._rounds if size in one and other in one
        ]

    def difference(self, size: int, other: int, sizes: Sequence[int]) -> Difference:
        """Return how much faster `size` is than `other`; they have a round in common.

        sizes: the sizes whose noise is pooled: a few rounds of one alone may agree by chance.
        """
        values = self.logarithms(size, other)
        if size == other:
            return Difference(0.0, 0.0, len(values))
        pooled = [
            gap for one in sizes if one != other for gap in _gaps(self.logarithms(one, other))
        ]
        spread = max(_spread(_gaps(values)), _spread(pooled), _LEAST_SPREAD)
        return Difference(median(values), spread, len(values))


def speed_of(size: int, rounds: Rounds, peak_memory_bytes: int | None) -> Speed:
    """Return the speed of a size, and how much it varied from round to round."""
    speeds = rounds.of(size)
    middle = median(speeds)
    spread: float | None = None
    if len(speeds) > 1:
        gaps = _gaps([math.log(one) for one in speeds])
        spread = middle * max(_spread(gaps), _LEAST_SPREAD)
    return Speed(size, middle, spread, len(speeds), peak_memory_bytes)


def _gaps(values: Sequence[float]) -> list[float]:
    return [abs(one - other) for one, other in combinations(values, 2)]


def _spread(gaps: Sequence[float]) -> float:
    """Return the standard deviation of values whose gaps these are; 0 without a gap."""
    return median(gaps) / _PAIR if gaps else 0.0
