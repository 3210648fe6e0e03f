"""Whole range tests over a loss surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.lr_range.find import LearningRateSearch, Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loss_surfaces import Valley

    from harness.lr_range.found import Result

SEEDS = (0, 1, 2)


def limits(horizon: int = 20, max_steps: int = 600, **changes: float) -> Limits:
    """Return the default range, with a shorter horizon."""
    return Limits(changes.get("lr_min", 1e-6), changes.get("lr_max", 10.0), horizon, max_steps)


def run(
    valley: Valley,
    seeds: Sequence[int] = SEEDS,
    locked_rate: float | None = None,
    **changes: float,
) -> Result:
    """Run a range test."""
    horizon, max_steps = int(changes.pop("horizon", 20)), int(changes.pop("max_steps", 600))
    confirmed_by = () if locked_rate is None else (locked_rate,)
    bounds = limits(horizon, max_steps, **changes)
    return LearningRateSearch(valley, bounds, locked_rate, confirmed_by).run(seeds)


def rate_of(result: Result) -> float:
    """Return the suggestion."""
    assert result.found is not None, result.refusal
    return result.found.learning_rate
