"""Micro-batches that make a global batch."""

from __future__ import annotations

import pytest

from harness.global_batch.divisors import divisors, micro_batches


@pytest.mark.parametrize("number", [1, 2, 12, 36, 97, 1000, 1024])
def test_divisors_are_all_there_are(number: int) -> None:
    """They are those that a trial of every number finds, ascending and once."""
    assert [one for one in range(1, number + 1) if number % one == 0] == divisors(number)


@pytest.mark.parametrize(
    ("least", "most", "unit", "expected"),
    [
        (1, 1 << 40, 1, [1, 2, 3, 4, 6, 12]),
        (2, 6, 1, [2, 3, 4, 6]),
        (1, 12, 4, [4, 12]),
        (1, 3, 4, [1, 2, 3]),
        (7, 11, 1, []),
    ],
)
def test_micro_batches_are_multiples_where_any_is(
    least: int, most: int, unit: int, expected: list[int]
) -> None:
    """Of 12 they are the divisors in the range, multiples of the unit if there is one."""
    assert expected == micro_batches(12, least, most, unit)
