"""Relates the attribute that holds a workload's learning rate to the rates of its optimizer.

A sweep finds a rate of the optimizer. `apply` sets the attribute, and `configure_optimizers` makes
of it what it likes: ten times as much for a head, less for lower layers, more for a large batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# The relative difference between two rates that were computed, or kept in float32, as one.
_SAME = 1e-6
# The lock holds 4 significant digits.
_LOCKED = 1e-3
# The rates of this many groups are shown.
_SHOWN = 4
_REMEDY = (
    "let configure_optimizers multiply the attribute by a factor, name the attribute that it does "
    "so with by learning_rate_attr, or set lr_range.when to never"
)


@dataclass(frozen=True, slots=True)
class RateMap:
    """The rates of an optimizer's groups, as they depend on the attribute.

    Each group either is in proportion to the attribute, or keeps a rate of its own.
    """

    attribute: str
    """The place of the attribute, such as `Net.lr`."""
    value: float
    """A value of the attribute."""
    rates: tuple[float, ...]
    """The rate of each group at this value."""
    fixed_groups: tuple[int, ...] = ()
    """The groups that keep their rate."""

    @property
    def largest(self) -> float:
        """The largest rate of the groups that follow the attribute, at `value`."""
        return max(
            rate for number, rate in enumerate(self.rates) if number not in self.fixed_groups
        )

    def value_for(self, rate: float) -> float:
        """Return the value of the attribute at which the largest following group has this rate."""
        return rate * (self.value / self.largest)

    def rate_for(self, value: float) -> float:
        """Return the rate of the largest following group at a value of the attribute."""
        return value * (self.largest / self.value)

    def rates_at(self, value: float) -> tuple[float, ...]:
        """Return the rate of each group at a value of the attribute."""
        return tuple(
            rate if number in self.fixed_groups else rate * (value / self.value)
            for number, rate in enumerate(self.rates)
        )

    def different_at(self, value: float) -> tuple[float, ...]:
        """Return the rate of each group at a value; nothing where all groups have the same."""
        rates = self.rates_at(value)
        same = all(math.isclose(rate, rates[0], rel_tol=_SAME) for rate in rates)
        return () if same else rates

    def contradiction(self, value: float, rates: Sequence[float]) -> str | None:
        """Return the reason why `rates`, read at a value, are not those that it stands for."""
        expected = self.rates_at(value)
        if len(rates) == len(expected) and all(
            math.isclose(one, other, rel_tol=_LOCKED)
            for one, other in zip(rates, expected, strict=True)
        ):
            return None
        return (
            f"the sweeps lead to learning rates of {shown(expected)}, but with {self.attribute} at "
            f"{value:.4g} configure_optimizers gives {shown(rates)}, so no value of it makes them: "
            f"{_REMEDY}"
        )


def relate(
    attribute: str, values: Sequence[float], rates: Sequence[Sequence[float]]
) -> RateMap | str:
    """Return the map that two values of an attribute and their rates show, or why there is none."""
    (value, other), (first, second) = values, rates
    at_both = (
        f"with {attribute} at {value:g} they are {shown(first)}, at {other:g} they are "
        f"{shown(second)}"
    )
    if len(first) != len(second):
        return f"the number of the optimizer's groups depends on {attribute}: {at_both}; {_REMEDY}"
    fixed = []
    for number, (one, two) in enumerate(zip(first, second, strict=True)):
        if math.isclose(one, two, rel_tol=_SAME):
            fixed.append(number)
        elif not math.isclose(two, one * (other / value), rel_tol=_SAME):
            return (
                f"the optimizer's learning rates are not in proportion to {attribute}: {at_both}, "
                f"so no value of it makes the rates of a sweep: {_REMEDY}"
            )
    if len(fixed) == len(first):
        return (
            f"the optimizer does not follow {attribute}: its learning rates stay at {shown(first)} "
            f"when that is set, so no value of it makes the rates of a sweep: {_REMEDY}"
        )
    return RateMap(attribute, value, tuple(first), tuple(fixed))


def shown(rates: Sequence[float]) -> str:
    """Return the different rates of groups in words: `0.001, 0.01 (3 groups)`."""
    different = [rate for rate, after in pairwise([*sorted(rates), math.inf]) if rate != after]
    text = ", ".join(f"{rate:.4g}" for rate in different[:_SHOWN])
    if len(different) > _SHOWN:
        text = f"{different[0]:.4g} to {different[-1]:.4g}"
    return text if len(rates) == 1 else f"{text} ({len(rates)} groups)"
