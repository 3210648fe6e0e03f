"""Learning rates are compared, and averaged, as factors: in log space."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Floats miss a product of decimals by about 1e-16 of its size; a value on a bound must be inside.
_TOLERANCE = 1e-9


def ratio(one: float, other: float) -> float:
    """Return the larger of two positive numbers over the smaller."""
    return max(one / other, other / one)


def outside(one: float, other: float, factor: float) -> bool:
    """Return whether two numbers are more than `factor` apart; exactly `factor` is inside."""
    apart = ratio(one, other)
    return apart > factor and not math.isclose(apart, factor, rel_tol=_TOLERANCE)


def log_median(rates: Sequence[float]) -> float:
    """Return the median of learning rates in log space. Raises ValueError when there are none."""
    if not rates:
        raise ValueError("there is no learning rate to take a median of: no seed gave one")
    return math.exp(median(math.log(rate) for rate in rates))
