"""Predictions against locked ones: exact under one torch, and what has grown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from limits import BOUNDS
from making import locked, measurement

from harness.bounds import judge
from harness.bounds_predicted import LOCKED_HOLDERS, Growth, growth, judge_prediction

if TYPE_CHECKING:
    from harness.measurement import Measurement

MADE = {"torch": "2.13.0", "lightning": "2.6.6"}


def predicted(batch_size: int = 3600, **changes: Any) -> Measurement:
    """Make a prediction."""
    values: dict[str, Any] = {
        "source": "predicted",
        "max_batch_size": batch_size,
        "predicted_batch_size": batch_size or None,
        "predicted_with": MADE,
        "made_with": MADE,
        "learning_rate": None,
        "learning_rates": (),
        "samples_per_second": None,
    }
    return measurement(**values | changes)


LOCKED = locked(predicted_batch_size=3600, predicted_with=MADE)


def test_same_prediction_passes() -> None:
    """Nothing to say about an equal one, though the measured batch beside it is another."""
    verdict = judge_prediction(predicted(), LOCKED)
    assert ((), (), ()) == (verdict.violations, verdict.improvements, verdict.warnings)


def test_one_sample_less_fails() -> None:
    """The bound is exact."""
    (violation,) = judge_prediction(predicted(3599), LOCKED).violations
    assert ("predicted_batch_size", 3600, 3599, 3600) == (
        violation.bound,
        violation.locked,
        violation.measured,
        violation.allowed,
    )
    assert violation.message == (
        "predicted batch 3599 is 0.0% below the locked 3600; predictions are exact, so that no sample less is allowed"
    )


def test_more_is_an_improvement() -> None:
    """A larger batch passes, and is told."""
    verdict = judge_prediction(predicted(4000), LOCKED)
    assert ("predicted batch 4000 is 11.1% above the locked 3600",) == verdict.improvements
    assert () == verdict.violations


@pytest.mark.parametrize(
    ("name", "then", "now"), [("torch", "2.13.0", "2.14.0"), ("rules", "1", "2"), ("rules", "1", None)]
)
def test_another_torch_and_other_rules_are_not_compared(name: str, then: str, now: str | None) -> None:
    """Other operators may allocate otherwise, and be taken for others: the difference is a warning."""
    before = replace(LOCKED, predicted_with=MADE | {name: then})
    with_now = {key: value for key, value in (MADE | {name: now}).items() if value is not None}
    verdict = judge_prediction(predicted(3000, predicted_with=with_now), before)
    assert () == verdict.violations
    (warning,) = verdict.warnings
    assert warning == (
        f"predicted batch 3000 is 16.7% below the locked 3600, which was predicted with {name} {then}, this one with "
        f"{name} {now}: they are not compared; predict with what that one was, or lock this one"
    )


def test_another_version_of_something_else_is_a_likely_cause() -> None:
    """Only the versions of torch and of the rules decide whether it is compared; others may explain the difference."""
    (violation,) = judge_prediction(
        predicted(3000, predicted_with=MADE | {"lightning": "2.7.0"}), LOCKED
    ).violations
    assert violation.message.endswith("; likely cause: made with other versions: lightning 2.6.6 -> 2.7.0")


@pytest.mark.parametrize(
    ("profile", "message"),
    [(None, "the case was never locked"), (locked(), "the case was measured, but never predicted")],
)
def test_nothing_to_compare_with_fails(profile: Any, message: str) -> None:
    """A case is locked by an explicit update, predictions too."""
    (violation,) = judge_prediction(predicted(), profile).violations
    assert ("missing", message) == (violation.bound, violation.message)


def test_other_workload_is_stale_and_compared_all_the_same() -> None:
    """A pull request sees what its change costs before it locks it."""
    verdict = judge_prediction(predicted(3000, fingerprint="sha256:f2", recipe="sha256:r2"), LOCKED)
    assert ["fingerprint", "recipe", "predicted_batch_size"] == [one.bound for one in verdict.violations]


def test_not_even_one_sample_fails() -> None:
    """A prediction of nothing is a violation, locked or not."""
    assert [("predicted_batch_size", 0)] == [
        (one.bound, one.measured) for one in judge_prediction(predicted(0), None).violations
    ]


def test_measurement_is_not_compared_with_a_prediction() -> None:
    """What was only predicted has never been locked by a measurement."""
    only = replace(LOCKED, source="predicted", max_batch_size=3600)
    (violation,) = judge(measurement(), only, BOUNDS).violations
    assert ("missing", "the case was predicted, but never measured") == (violation.bound, violation.message)


def test_growth_is_told_by_module_the_largest_first() -> None:
    """What holds more, and what is new; what holds less is left out."""
    then = {"activation of a": 100, "activation of b": 50, "parameter": 10}
    now = predicted(predicted_at_locked={"activation of a": 130, "activation of c": 70, "parameter": 10})
    assert [
        Growth("activation of c", 0, 70, at_most=False),
        Growth("activation of a", 100, 130, at_most=False),
    ] == growth(now, replace(LOCKED, predicted_peak=then))


def test_growth_of_what_was_too_small_to_be_locked() -> None:
    """Beyond the largest holders the lock knows only that a holder held no more than the least of them."""
    then = {f"activation of {number}": 100 + number for number in range(LOCKED_HOLDERS)}
    now = predicted(predicted_at_locked={"activation of x": 350, "activation of y": 90})
    (one,) = growth(now, replace(LOCKED, predicted_peak=then))
    assert (Growth("activation of x", 100, 350, at_most=True), 250) == (one, one.grown_bytes)
