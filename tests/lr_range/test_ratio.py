"""How far apart two learning rates are."""

from __future__ import annotations

import pytest

from harness.lr_range.ratio import outside, ratio


@pytest.mark.parametrize(("one", "other"), [(1e-3, 4e-3), (4e-3, 1e-3)])
def test_ratio_is_that_of_the_larger_to_the_smaller(one: float, other: float) -> None:
    """The order does not matter."""
    assert 4.0 == ratio(one, other)


@pytest.mark.parametrize(
    ("one", "other", "factor", "expected"),
    [
        (0.1, 0.2, 2.0, False),
        (0.3, 0.1, 3.0, False),  # 0.3 / 0.1 is 2.9999999999999996
        (0.1, 0.30000001, 3.0, True),
        (0.5, 0.1, 2.0, True),
    ],
)
def test_exactly_the_factor_is_inside(
    one: float, other: float, factor: float, expected: bool
) -> None:
    """A bound's boundary belongs to it, although products of decimals miss whole numbers."""
    assert expected == outside(one, other, factor)
