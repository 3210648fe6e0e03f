"""The published rules that read a learning rate off one sweep."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from lr_curves import fall

from harness.lr_range.strategies import PUBLISHED, minimum, slide, steepest, valley
from harness.lr_range.strategy_search import DROP, strategy_of
from harness.lr_range.suggestion import geometric_sweep
from harness.matrix.callables import DEFAULT_STRATEGY, StrategyName

RATES = geometric_sweep(1e-6, 10.0, 200)


def test_matrix_names_what_there_is() -> None:
    """Each name of the matrix is a rule, and the default is the drop's."""
    assert get_args(StrategyName) == (DROP, *PUBLISHED)
    assert DROP == DEFAULT_STRATEGY


def test_valley_lies_half_way_along_the_longest_descent() -> None:
    """Of 171 ever smaller averages it takes a third and a sixth: that is the 85th."""
    losses = [2.0 - 0.001 * step for step in range(200)]
    # A tenth of the steps is left out at the beginning, and five at the end.
    length = 200 - 20 - 5
    index = 20 - 1 + length // 3 + length // 6
    assert RATES[index + 1] == pytest.approx(valley(RATES, losses), rel=0.1)


def test_minimum_is_a_tenth_of_the_lowest() -> None:
    """The factor of ten is fastai's own."""
    losses = [2.0 - 0.01 * step for step in range(200)]
    assert RATES[200 - 5 - 1] / 10 == pytest.approx(minimum(RATES, losses))


def test_slide_stands_still_on_a_plain() -> None:
    """A loss whose gradient never changes leaves the slide where it starts, 15 points inside."""
    assert RATES[200 - 5 - 1 - 15] == pytest.approx(slide(RATES, [2.0] * 200))


def test_steepest_is_where_the_loss_falls_fastest() -> None:
    """A step of the loss is found at its place, though the average lags behind."""
    assert RATES[100] == pytest.approx(steepest(RATES, [2.0] * 100 + [1.0] * 100))


@pytest.mark.parametrize("name", [DROP, *PUBLISHED])
def test_strategies_read_a_rate_off_a_usual_sweep(name: str) -> None:
    """On a sweep whose loss falls around 1e-2, each gives a rate."""
    (rate,) = strategy_of(name).read(RATES, [fall(RATES, 1e-2, noise=0.002, seed=0)])
    assert isinstance(rate, float)


@pytest.mark.parametrize("name", [DROP, *PUBLISHED])
@pytest.mark.parametrize("losses", [[], [math.nan], [2.0] * 3], ids=["none", "nan", "three"])
def test_sweep_that_ends_early_has_a_reason(name: str, losses: list[float]) -> None:
    """No strategy fails, and none invents a rate."""
    (reading,) = strategy_of(name).read(RATES, [losses])
    assert isinstance(reading, str)
