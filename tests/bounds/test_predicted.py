"""Judging predictions by locked ones: exactly under one torch, and with what has grown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from bounds_values import BOUNDS
from measurements import locked, measurement

from harness.bounds.measured import judge
from harness.bounds.predicted import Growth, growth, judge_prediction
from harness.measurement import LOCKED_HOLDERS

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
    """A prediction that equals the locked one passes, although the measured batch differs."""
    verdict = judge_prediction(predicted(), LOCKED)
    assert ((), (), ()) == (verdict.violations, verdict.improvements, verdict.warnings)


def test_one_sample_less_fails() -> None:
    """The bound is exact: one sample less is a violation."""
    (violation,) = judge_prediction(predicted(3599), LOCKED).violations
    assert ("predicted_batch_size", 3600, 3599, 3600) == (
        violation.bound,
        violation.locked,
        violation.measured,
        violation.allowed,
    )
    assert violation.message == (
        "predicted batch 3599 is 0.0% below the locked 3600; predictions are exact, so not one "
        "sample less is allowed"
    )


def test_more_is_an_improvement() -> None:
    """A larger predicted batch passes and is reported as an improvement."""
    verdict = judge_prediction(predicted(4000), LOCKED)
    assert ("predicted batch 4000 is 11.1% above the locked 3600",) == verdict.improvements
    assert () == verdict.violations


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [("torch", "2.13.0", "2.14.0"), ("simulated", "1", "2"), ("simulated", None, "1")],
)
def test_another_torch_or_simulation_is_not_compared(name: str, then: str | None, now: str) -> None:
    """Under another torch or simulation, a difference between predictions is only a warning.

    Locks of old were predicted without a simulated GPU.
    """
    before = replace(LOCKED, predicted_with=MADE | ({name: then} if then else {}))
    made_then = f"{name} {then}" if then else f"no {name} GPU"
    verdict = judge_prediction(predicted(3000, predicted_with=MADE | {name: now}), before)
    assert () == verdict.violations
    (warning,) = verdict.warnings
    assert warning == (
        "predicted batch 3000 is 16.7% below the locked 3600, but that was predicted with "
        f"{made_then} and this with {name} {now}, so they are not compared. Predict with "
        f"{made_then}, or lock the new value"
    )


def test_another_version_of_something_else_is_a_likely_cause() -> None:
    """Another version of anything else permits the comparison, and is a likely cause of a drop."""
    (violation,) = judge_prediction(
        predicted(3000, predicted_with=MADE | {"lightning": "2.7.0"}), LOCKED
    ).violations
    assert violation.message.endswith(
        "; likely cause: made with other versions: lightning 2.6.6 -> 2.7.0"
    )


@pytest.mark.parametrize(
    ("profile", "message"),
    [(None, "the case was never locked"), (locked(), "the case was measured, but never predicted")],
)
def test_nothing_to_compare_with_fails(profile: Any, message: str) -> None:
    """A prediction without a locked prediction fails: only an explicit update locks it."""
    (violation,) = judge_prediction(predicted(), profile).violations
    assert ("missing", message) == (violation.bound, violation.message)


def test_other_workload_is_stale_and_compared_all_the_same() -> None:
    """A stale lock is reported together with the change of the predicted batch."""
    verdict = judge_prediction(predicted(3000, fingerprint="sha256:f2", recipe="sha256:r2"), LOCKED)
    assert ["fingerprint", "recipe", "predicted_batch_size"] == [
        one.bound for one in verdict.violations
    ]


def test_not_even_one_sample_fails() -> None:
    """A prediction that no batch fits is a violation, locked or not."""
    assert [("predicted_batch_size", 0)] == [
        (one.bound, one.measured) for one in judge_prediction(predicted(0), None).violations
    ]


def test_measurement_is_not_compared_with_a_prediction() -> None:
    """A measurement of a case that was only predicted has no locked values to compare with."""
    only = replace(LOCKED, source="predicted", max_batch_size=3600)
    (violation,) = judge(measurement(), only, BOUNDS).violations
    assert ("missing", "the case was predicted, but never measured") == (
        violation.bound,
        violation.message,
    )


def test_growth_is_told_by_module_the_largest_first() -> None:
    """Holders that have grown and new holders are listed; the others are left out."""
    then = {"activation of a": 100, "activation of b": 50, "parameter": 10}
    now = predicted(
        predicted_at_locked={"activation of a": 130, "activation of c": 70, "parameter": 10}
    )
    assert [
        Growth("activation of c", 0, 70, at_most=False),
        Growth("activation of a", 100, 130, at_most=False),
    ] == growth(now, replace(LOCKED, predicted_peak=then))


def test_growth_of_what_was_too_small_to_be_locked() -> None:
    """A holder that was too small to be locked held at most as much as the smallest locked one."""
    then = {f"activation of {number}": 100 + number for number in range(LOCKED_HOLDERS)}
    now = predicted(predicted_at_locked={"activation of x": 350, "activation of y": 90})
    (one,) = growth(now, replace(LOCKED, predicted_peak=then))
    assert (Growth("activation of x", 100, 350, at_most=True), 250) == (one, one.grown_bytes)


def test_growth_beside_the_table_of_a_prediction() -> None:
    """The table tells what each holder held; one that it does not name was among the others."""
    table = replace(
        LOCKED,
        source="predicted",
        max_batch_size=10,
        memory={"parameter": 10, "activation of other modules": 20},
        memory_per_sample={"activation of a": 10},
    )
    now = predicted(
        predicted_at_locked={"activation of a": 130, "activation of c": 70, "gradient": 5}
    )
    assert [
        Growth("activation of c", 20, 70, at_most=True),
        Growth("activation of a", 100, 130, at_most=False),
        Growth("gradient", 0, 5, at_most=False),
    ] == growth(now, table)
