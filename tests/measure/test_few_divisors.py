"""A global batch whose divisors lie far apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.measure.few_divisors import warn_of_few_divisors


def warned(total: int | None, largest: int, bounded_by: str = "memory") -> tuple[str, ...]:
    """Return the warnings of a search that ended there."""
    case: Any = SimpleNamespace(search=SimpleNamespace(global_batch_size=total), num_ranks=1)
    found: Any = SimpleNamespace(max_batch_size=largest, bounded_by=bounded_by)
    return warn_of_few_divisors(case, found)


def test_a_prime_names_near_numbers_with_divisors() -> None:
    """Of 1009 nothing but one sample is left, whatever the memory allows."""
    assert (
        (
            "global_batch_size 1009 has no divisor between 1 and 1009, so batch 1 may be far below "
            "what the memory allows: take a number with more divisors, such as 960 or 1024"
        ),
    ) == warned(1009, 1)


@pytest.mark.parametrize(
    ("total", "largest", "bounded_by"),
    [(1024, 16, "memory"), (None, 1, "memory"), (1009, 1, "error"), (1009, 1009, "memory")],
)
def test_others_are_not_warned_of(total: int | None, largest: int, bounded_by: str) -> None:
    """Where the next divisor is near, or where something else ended the search."""
    assert () == warned(total, largest, bounded_by)
