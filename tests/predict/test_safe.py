"""The batch size that is safe to train with before any measurement."""

from __future__ import annotations

import pytest

from harness.predict.safe import safe_batch_size


@pytest.mark.parametrize(("largest", "safe"), [(1000, 900), (99, 89), (2, 1)])
def test_safe_batch_is_a_share_rounded_down(largest: int, safe: int) -> None:
    """The share is what measured networks support."""
    assert safe == safe_batch_size(largest)


def test_single_sample_is_as_safe_as_can_be() -> None:
    """There is no smaller batch."""
    assert safe_batch_size(1) == 1


def test_nothing_is_safe_where_nothing_fits() -> None:
    """0 stays 0."""
    assert safe_batch_size(0) == 0
