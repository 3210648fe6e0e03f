"""Judging buckets of lengths: each alone, as the case's own batch is, and all of them in turn."""

from __future__ import annotations

from typing import Any

import pytest
from bounds_values import BOUNDS
from measurements import CPU, locked, measurement

from harness.bounds.measured import judge
from harness.bounds.predicted import judge_prediction
from harness.measurement import Bucket

MADE = {"torch": "2.13.0", "simulated": "1"}


def values(first: int = 1000, last: int = 100, share: float = 1.0, **more: Any) -> dict[str, Any]:
    """Return the values of a case with two buckets, which train in turn at a share of these."""
    buckets = (Bucket(64, int(share * first), first), Bucket(224, int(share * last), last))
    return {
        "buckets": buckets,
        "batch_size": buckets[-1].batch_size,
        "max_batch_size": last,
        **more,
    }


@pytest.mark.parametrize(("device", "first"), [({}, 980), ({"device": CPU}, 980)])
def test_a_bucket_within_the_bound_passes(device: dict[str, Any], first: int) -> None:
    """98% of what is locked."""
    verdict = judge(measurement(**values(first), **device), locked(**values(), **device), BOUNDS)
    assert () == verdict.violations


def test_a_bucket_below_the_bound_fails_by_name() -> None:
    """The last one's is the case's own batch, and judged as such."""
    (violation,) = judge(measurement(**values(979)), locked(**values()), BOUNDS).violations
    assert ("bucket_batch_size", 1000, 979, 980) == (
        violation.bound,
        violation.locked,
        violation.measured,
        violation.allowed,
    )
    assert violation.message == (
        "batch size 979 of bucket 64 is 2.1% below the locked 1000; at least 980 is allowed "
        "(max_drop 2%)"
    )


def test_a_larger_bucket_is_an_improvement() -> None:
    """Beyond the bound."""
    verdict = judge(measurement(**values(1100)), locked(**values()), BOUNDS)
    assert ("batch size 1100 of bucket 64 is 10.0% above the locked 1000",) == verdict.improvements


def test_buckets_that_train_in_turn_at_less_fail() -> None:
    """Though each of them alone is what is locked."""
    (violation,) = judge(measurement(**values(share=0.9)), locked(**values()), BOUNDS).violations
    assert ("bucket_batch_size", 100, 90, 98) == (
        violation.bound,
        violation.locked,
        violation.measured,
        violation.allowed,
    )
    assert violation.message == (
        "batch size 90 of bucket 224 is below the locked 100: in turn the buckets train at 90% of "
        "the sizes that they have alone, where 100% is locked"
    )


def test_a_percent_in_turn_is_noise_on_the_cpu() -> None:
    """Beside the noise of the size itself: two samples of 20."""
    now, then = values(last=20, share=0.9, device=CPU), values(last=20, device=CPU)
    assert () == judge(measurement(**now), locked(**then), BOUNDS).violations


def test_a_lock_without_buckets_judges_none() -> None:
    """That is a change of the recipe."""
    verdict = judge(measurement(**values(recipe="r2")), locked(**values(buckets=())), BOUNDS)
    assert ["recipe"] == [violation.bound for violation in verdict.violations]


@pytest.mark.parametrize(("first", "failing"), [(1000, 0), (999, 1)])
def test_a_predicted_bucket_is_exact(first: int, failing: int) -> None:
    """One sample less fails, under one torch and simulation."""
    more: dict[str, Any] = {
        "source": "predicted",
        "predicted_with": MADE,
        "predicted_batch_size": 100,
    }
    verdict = judge_prediction(measurement(**values(first, **more)), locked(**values(**more)))
    assert failing == len(verdict.violations)
