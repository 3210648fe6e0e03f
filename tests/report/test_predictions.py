"""Reports of predictions: their mark, their comparison, and what has grown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from case_results import command
from measurements import locked, measurement

from harness import report
from harness.bounds.predicted import judge_prediction
from harness.report import words
from harness.report.case_result import CaseResult

if TYPE_CHECKING:
    from harness.case_names import Scalar
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement

MIB = 1 << 20
CASE = "resnet18-h200-224"
MADE = {"torch": "2.13.0"}
LOCKED = locked(
    predicted_batch_size=3600,
    predicted_with=MADE,
    predicted_peak={"activation of layer1": 500 * MIB, "parameter": 40 * MIB},
)


def predicted(batch_size: int, **changes: Any) -> Measurement:
    """Return a prediction."""
    values: dict[str, Any] = {
        "source": "predicted",
        "max_batch_size": batch_size,
        "batch_size": int(0.95 * batch_size),
        "predicted_batch_size": batch_size,
        "predicted_with": MADE,
        "made_with": MADE,
        "learning_rate": None,
        "learning_rates": (),
    }
    return measurement(**values | changes)


def result(found: Measurement, lock: LockedProfile | None) -> CaseResult:
    """Return the result of a prediction, judged by the lock."""
    verdict = judge_prediction(found, lock)
    return CaseResult(
        case_id=found.case_id,
        axes=found.axes,
        status="failed" if verdict.violations else "passed",
        source="predicted",
        measurement=found,
        locked=lock,
        violations=verdict.violations,
    )


def test_smaller_prediction_names_what_has_grown() -> None:
    """A smaller prediction shows both batches, the GPU, and the holders that have grown."""
    grown = {
        "activation of layer1": 900 * MIB,
        "activation of layer2": 8 * MIB,
        "parameter": 40 * MIB,
    }
    found = predicted(2000, predicted_at_locked=grown)
    assert (
        report.failure_text(result(found, LOCKED), command(CASE))
        == f"""\
{CASE}: predicted max batch 2000 (-44.4%) where 3600 is locked

             locked  predicted  allowed
  max batch  3600    2000       at least 3600

  for          NVIDIA H200, 140.4 GiB, torch 2.13.0
  peak memory  117.2 GiB of 126.4 GiB at batch 2000

  what holds more memory at the peak of batch 3600 than when it was locked:
    activation of layer1  500.0 MiB  ->  900.0 MiB  +400.0 MiB
    activation of layer2        0 B  ->    8.0 MiB    +8.0 MiB

accept what was predicted with:
  {command(CASE)}"""
    )


def test_prediction_that_was_never_locked() -> None:
    """A prediction that was never locked shows its values, without a learning rate."""
    assert (
        report.failure_text(result(predicted(3600), None), command(CASE))
        == f"""\
{CASE}: never locked on NVIDIA H200, 140.4 GiB

  max batch    3600, bounded by memory
  batch        3420, which leaves room for errors of the prediction
  peak memory  117.2 GiB of 126.4 GiB

lock these values with:
  {command(CASE)}"""
    )


def test_measured_case_without_a_prediction_says_so() -> None:
    """The headline says that a case was measured, but never predicted."""
    text = report.failure_text(result(predicted(3600), locked()), command(CASE))
    assert text.startswith(
        f"{CASE}: the case was measured, but never predicted on NVIDIA H200,\n  140.4 GiB\n"
    )


@pytest.mark.parametrize(
    ("found", "lock", "shown"),
    [
        (predicted(3240), LOCKED, "-10.0%"),
        (predicted(3240), locked(), "new"),
        (predicted(3240), None, "new"),
        (measurement(), replace(LOCKED, source="predicted", max_batch_size=3600), "new"),
        (measurement(), LOCKED, "+0.0%"),
    ],
    ids=["predictions", "only measured", "neither", "measured first", "measurements"],
)
def test_change_is_against_its_like(
    found: Measurement, lock: LockedProfile | None, shown: str
) -> None:
    """Predictions are compared with locked predictions, measurements with measurements."""
    assert shown == words.change(replace(result(found, lock), source=found.source))


def test_table_marks_predictions() -> None:
    """A tilde, which a note explains, marks predictions; measured cases have a column for them."""
    axes: dict[str, Scalar] = {"model": "z", "gpu": "h200", "resolution": 224}
    other = measurement(axes=axes, predicted_batch_size=3600)
    rows = [
        result(predicted(3240), LOCKED),
        CaseResult(
            case_id=other.case_id, axes=axes, status="passed", measurement=other, locked=LOCKED
        ),
    ]
    lines = report.render_table(rows, 200).splitlines()
    heads = lines[0].split("  ")
    cells = [[cell.strip() for cell in line.split()] for line in lines[2:]]
    assert "predicted" in [head.strip() for head in heads]
    assert ["~3240", "3712"] == [row[1] for row in cells]
    assert [["-"], ["3600"]] == [[row[8]] for row in cells]
    assert report.note_lines(rows)[0] == (
        "~ marks what was predicted with torch 2.13.0: nothing was trained, and nothing ran on a "
        "GPU"
    )
