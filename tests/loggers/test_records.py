"""The plain record of a case: what loggers get."""

from __future__ import annotations

from dataclasses import replace

from case_results import FITS, OOM
from measurements import locked, measurement

from harness.loggers.records import record_of
from harness.measurement import LrCurve
from harness.report.case_result import CaseResult

MEASURED = measurement(
    probes=(FITS, OOM, replace(FITS, kind="validation", samples_per_second=50.0)),
    lr_curves=(
        LrCurve(0, (0.001, 0.01, 0.1), (2.0, 1.0, float("nan"))),
        LrCurve(0, (0.01, 0.01), (2.0, 1.0)),
        LrCurve(0, (0.02, 0.02), (2.0, 0.5)),
    ),
    artifacts=("a/lr_range.png", "a/out-of-memory-b8.pickle"),
)
RESULT = CaseResult(
    case_id="resnet18-h200-224",
    axes=dict(MEASURED.axes),
    status="failed",
    measurement=MEASURED,
    locked=locked(max_batch_size=4000),
)


def test_probes_come_in_their_order() -> None:
    """The step is the probe's number; other kinds than training have a group of their own."""
    rows = [row for row in record_of(RESULT, MEASURED)["metrics"] if "probe" in next(iter(row[1]))]
    assert [
        (1, "probe", 471, 1),
        (2, "probe", 472, 0),
        (3, "probe_validation", 471, 1),
    ] == [
        (
            step,
            (group := next(iter(values)).partition("/")[0]),
            values[f"{group}/batch_size"],
            values[f"{group}/fits"],
        )
        for step, values in rows
    ]
    assert FITS.peak_memory_bytes == rows[0][1]["probe/peak_memory_bytes"]
    assert "probe/peak_memory_bytes" not in rows[1][1]
    assert 50.0 == rows[2][1]["probe_validation/samples_per_second"]


def test_sweeps_and_trials_are_apart() -> None:
    """A sweep is a series by its steps; a trial has one rate, so it is one point."""
    rows = [row for row in record_of(RESULT, MEASURED)["metrics"] if "lr_" in next(iter(row[1]))]
    assert [
        (0, {"lr_sweep/seed_0/rate": 0.001, "lr_sweep/seed_0/loss": 2.0}),
        (1, {"lr_sweep/seed_0/rate": 0.01, "lr_sweep/seed_0/loss": 1.0}),
        (2, {"lr_sweep/seed_0/rate": 0.1}),
        (1, {"lr_trial/seed_0/rate": 0.01, "lr_trial/seed_0/loss": 1.0}),
        (2, {"lr_trial/seed_0/rate": 0.02, "lr_trial/seed_0/loss": 0.5}),
    ] == rows


def test_tuned_and_locked_values_have_step_0() -> None:
    """They are the last metrics, with the status of the test."""
    record = record_of(RESULT, MEASURED)
    step, values = record["metrics"][-1]
    assert (0, 3712, 4000, 0.00316, 0, record["final"]) == (
        step,
        values["tuned/max_batch_size"],
        values["locked/max_batch_size"],
        values["tuned/learning_rate"],
        values["passed"],
        values,
    )


def test_parameters_and_images() -> None:
    """Axes, device, settings and versions are parameters; pictures are PNG files."""
    record = record_of(RESULT, MEASURED)
    parameters = record["parameters"]
    assert ("resnet18", 224, "NVIDIA H200", "bf16-mixed", "2.11.0", "sha256:f1") == (
        parameters["model"],
        parameters["resolution"],
        parameters["device"],
        parameters["settings/trainer.precision"],
        parameters["versions/torch"],
        parameters["fingerprint"],
    )
    assert ["a/lr_range.png"] == record["images"]
