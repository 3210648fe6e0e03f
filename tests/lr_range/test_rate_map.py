"""The rates of an optimizer's groups, as they depend on the attribute that `apply` sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.lr_range.rate_map import RateMap, relate, shown

if TYPE_CHECKING:
    from collections.abc import Callable


def related(rates_of: Callable[[float], tuple[float, ...]]) -> RateMap | str:
    """Relate two values of an attribute to their rates."""
    return relate("Net.lr", (1e-3, 2e-3), (rates_of(1e-3), rates_of(2e-3)))


@pytest.mark.parametrize(
    ("rates_of", "fixed", "value"),
    [
        (lambda lr: (lr, lr), (), 0.1),
        (lambda lr: (lr, 10 * lr), (), 0.01),
        (lambda lr: tuple(lr * 0.8**depth for depth in range(12)), (), 0.1),
        (lambda lr: (lr * 64 / 256,), (), 0.4),
        (lambda lr: (lr * (64 / 256) ** 0.5,), (), 0.2),
        (lambda lr: (0.5, lr / 10), (0,), 1.0),
        (lambda lr: (lr, 0.0), (1,), 0.1),
    ],
    ids=["same", "head", "layer decay", "linear scaling", "square root", "fixed", "frozen"],
)
def test_value_for_the_largest_rate(
    rates_of: Callable[[float], tuple[float, ...]], fixed: tuple[int, ...], value: float
) -> None:
    """The value is the one at which the largest group that follows it has the rate of 0.1."""
    found = related(rates_of)
    assert isinstance(found, RateMap)
    assert fixed == found.fixed_groups
    assert pytest.approx(value) == found.value_for(0.1)
    assert pytest.approx(rates_of(value)) == found.rates_at(value)
    assert found.contradiction(value, rates_of(value)) is None


@pytest.mark.parametrize(
    ("rates_of", "reason"),
    [
        (lambda _lr: (0.1, 0.01), "the optimizer does not follow Net.lr: its learning rates stay"),
        (lambda lr: (lr + 0.1,), "not in proportion to Net.lr: with Net.lr at 0.001 they are 0.10"),
        (lambda lr: (lr, lr**2), "not in proportion to Net.lr"),
        (lambda lr: (10**lr,), "not in proportion to Net.lr"),
        (lambda lr: (lr,) * round(lr * 1000), "the number of the optimizer's groups depends on"),
    ],
    ids=["unused", "offset", "square", "logarithm", "number of groups"],
)
def test_rates_that_no_value_makes_are_refused(
    rates_of: Callable[[float], tuple[float, ...]], reason: str
) -> None:
    """The reason has the attribute and its rates, and says what would do."""
    found = related(rates_of)
    assert isinstance(found, str)
    assert reason in found
    assert "name the attribute that it does so with by learning_rate_attr" in found


@pytest.mark.parametrize("rates", [(0.1, 0.5), (0.1,), ()])
def test_other_rates_than_expected_are_a_contradiction(rates: tuple[float, ...]) -> None:
    """A value that gives other rates, or another number of groups, is refused with both."""
    text = RateMap("Net.lr", 1.0, (1.0, 10.0)).contradiction(0.1, rates)
    assert text is not None
    assert (
        f"lead to learning rates of 0.1, 1 (2 groups), but with Net.lr at 0.1 {shown(rates)}"
        in (text.replace("configure_optimizers gives ", ""))
    )


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ((0.1,), "0.1"),
        ((0.1, 0.1), "0.1 (2 groups)"),
        ((1.0, 0.1), "0.1, 1 (2 groups)"),
        (tuple(range(1, 9)), "1 to 8 (8 groups)"),
    ],
)
def test_rates_are_shown_in_few_words(rates: tuple[float, ...], expected: str) -> None:
    """Equal rates are shown once, and many as their range."""
    assert expected == shown(rates)
