"""report.json, and sending results as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from case_results import CPU, OOM, axes, command, locked, measurement, result, several, unmeasured
from json_documents import assert_described

from harness import report
from harness.lockfile.precisions import Recommendation
from harness.measurement import LrCurve, Probe, Speed
from harness.report.case_result import CaseResult

KEYS = [
    "id",
    "model",
    "gpu",
    "resolution",
    "axes",
    "status",
    "reason",
    "source",
    "max_batch_size",
    "bounded_by",
    "batch_size",
    "validation_batch_size",
    "predicted_batch_size",
    "learning_rate",
    "lr_refusal",
    "peak_memory_bytes",
    "memory_limit_bytes",
    "samples_per_second",
    "probes",
    "violations",
    "seconds",
]
FURTHER_KEYS = [
    "headline",
    "grown",
    "device",
    "fingerprint",
    "recipe",
    "made_with",
    "predicted_with",
    "predicted_peak",
    "predicted_step",
    "predicted_step_at_locked",
    "memory",
    "memory_per_sample",
    "emulated",
    "accumulate_grad_batches",
    "global_batch_size",
    "inference_batch_sizes",
    "buckets",
    "num_workers",
    "loader_samples_per_second",
    "step_samples_per_second",
    "learning_rates",
    "learning_rate_range",
    "lr_horizon",
    "lr_steps",
    "lr_confirmed",
    "lr_kept",
    "group_learning_rates",
    "group_rates_at_locked",
    "largest_learning_rate",
    "signal_to_noise",
    "samples_per_second_spread",
    "speeds",
    "speeds_again",
    "non_monotone",
    "artifacts",
    "headline",
    "lr_sweeps",
    "lr_trials",
    "predicted_at_locked",
    "improvements",
    "warnings",
    "locked",
    "accepted",
    "update_command",
]


def test_every_case_has_every_key() -> None:
    """Every case, measured or not, has all keys of version 1."""
    cases = report.render_json(several())["cases"]
    assert len(cases) == 5
    assert [{*KEYS, *FURTHER_KEYS}] * 5 == [set(case) for case in cases]


def test_schema_describes_it() -> None:
    """The shipped schema has a definition of report.json, which knows every key."""
    recommended = Recommendation(
        {"model": "net", "gpu": "h200"}, "bf16-mixed", "net-h200-1-bf16-mixed", "it is the fastest"
    )
    content = report.render_json([*several(), result(lock=locked())], "quick", [recommended])
    assert_described(json.loads(json.dumps(content)), "report.json")


def test_values_of_a_measured_case() -> None:
    """A measured case has the measurement's values under their names."""
    case = report.render_json([result(lock=locked())])["cases"][0]
    expected = {
        "id": "resnet18-cpu-256MiB-32",
        "model": "resnet18",
        "gpu": "cpu-256MiB",
        "resolution": 32,
        "axes": {"model": "resnet18", "gpu": "cpu-256MiB", "resolution": 32},
        "status": "passed",
        "reason": None,
        "source": "measured",
        "max_batch_size": 471,
        "bounded_by": "memory",
        "batch_size": 471,
        "validation_batch_size": 471,
        "predicted_batch_size": None,
        "learning_rate": 0.00316,
        "learning_rate_range": [0.002107, 0.00474],
        "lr_horizon": 40,
        "lr_refusal": None,
        "peak_memory_bytes": 262_250_000,
        "memory_limit_bytes": 268_435_456,
        "samples_per_second": 1180.4,
        "violations": [],
        "seconds": 31.25,
        "device": {"name": "cpu", "memory_bytes": 268_435_456, "count": 1},
        "artifacts": ["lr_range.png", "lr_range.json"],
        "accepted": True,
        "update_command": command("resnet18-cpu-256MiB-32"),
    }
    assert expected == {key: case[key] for key in expected}


def test_unmeasured_case_is_null_where_nothing_is_known() -> None:
    """A skipped case has its axes and reason; values of a measurement are null or empty."""
    case = report.render_json([unmeasured("skipped", "no GPU", gpu="h200")])["cases"][0]
    known = {
        "id",
        "model",
        "gpu",
        "resolution",
        "axes",
        "status",
        "reason",
        "source",
        "accepted",
        "seconds",
    }
    assert (case["status"], case["reason"]) == ("skipped", "no GPU")
    values = [value for key, value in case.items() if key not in known and value not in ([], {})]
    assert {None} == {*values}


def test_axes_that_a_matrix_lacks_are_null() -> None:
    """The resolution of a case without one is null; a further axis is among the axes."""
    where = {"model": "mlp", "gpu": "h200", "precision": "bf16-mixed"}
    case = report.render_json([result(measurement(axes=where))])["cases"][0]
    assert case["resolution"] is None
    assert where == case["axes"]


@pytest.mark.parametrize(
    ("probe", "outcome", "phase"),
    [
        (Probe(8, "fits"), "fits", None),
        (OOM, "oom", "backward"),
        (Probe(8, "error", phase="forward"), "error", "forward"),
        (Probe(8, "dataset"), "error", "data"),
    ],
)
def test_outcomes(probe: Probe, outcome: str, phase: str | None) -> None:
    """The report has three outcomes of probes; a data set that is too small is an error."""
    case = report.render_json([result(measurement(probes=(probe,)))])["cases"][0]
    assert [(outcome, phase)] == [(shown["outcome"], shown["phase"]) for shown in case["probes"]]
    assert {"batch_size", "outcome", "phase", "peak_memory_bytes", "seconds"} <= set(
        case["probes"][0]
    )


def test_violations() -> None:
    """A violation names its bound and the locked, measured and allowed values."""
    row = result(measurement(max_batch_size=412, batch_size=412), locked())
    violation = report.render_json([row])["cases"][0]["violations"][0]
    expected = {"bound": "batch_size", "locked": 471, "measured": 412, "allowed": 462}
    assert expected == {key: violation[key] for key in expected}


def test_not_a_number_is_null() -> None:
    """NaN and infinity, which JSON lacks, are null at any depth."""
    odd = measurement(
        samples_per_second=math.nan, signal_to_noise=math.inf, learning_rates=(0.1, -math.inf)
    )
    case = report.render_json([result(odd)])["cases"][0]
    assert (
        case["samples_per_second"],
        case["signal_to_noise"],
        case["learning_rates"],
    ) == (None, None, [0.1, None])
    json.dumps(case, allow_nan=False)


def test_warnings_of_measurement_and_comparison() -> None:
    """The measurement's warnings come first, then those of the comparison with the lock."""
    row = result(measurement(warnings=("thrashing",)), locked(), warnings=("moved by x1.6",))
    assert report.render_json([row])["cases"][0]["warnings"] == ["thrashing", "moved by x1.6"]


def test_sorted_by_case() -> None:
    """Cases are sorted by id, whatever the order in which they ended."""
    rows = [result(measurement(axes=axes(model=name))) for name in ("b", "c", "a")]
    assert [case["model"] for case in report.render_json(rows)["cases"]] == ["a", "b", "c"]


@pytest.mark.parametrize("row", several(), ids=lambda row: row.status)
def test_results_survive_json(row: CaseResult) -> None:
    """A result is equal after a round trip through JSON."""
    assert row == CaseResult.from_json(json.loads(json.dumps(row.to_json())))


def test_unknown_keys_of_the_lock_stay_behind() -> None:
    """Unknown keys of the lock, which JSON may not hold, are not sent."""
    known = replace(locked(), extra={"since": CPU})
    travelled = CaseResult.from_json(json.loads(json.dumps(result(lock=known).to_json())))
    assert locked() == travelled.locked


def test_curves_survive_json() -> None:
    """The curves of the LR range test are sent with their result."""
    curve = LrCurve(2, (1e-6, 1e-5), (2.3, 2.25))
    row = result(measurement(lr_curves=(curve,)))
    travelled = CaseResult.from_json(json.loads(json.dumps(row.to_json())))
    assert travelled.measurement is not None
    assert (curve,) == travelled.measurement.lr_curves


def test_speeds_are_rows_of_batch_size_speed_spread_and_peak() -> None:
    """Each batch size that was timed is an object with its speed and its peak."""
    timed = measurement(speeds=(Speed(64, 812.0, 4.5, 5, 1 << 20), Speed(471, 820.0, None, 1)))
    case = report.render_json([result(timed)])["cases"][0]
    assert [
        {
            "batch_size": 64,
            "samples_per_second": 812.0,
            "samples_per_second_spread": 4.5,
            "num_rounds": 5,
            "peak_memory_bytes": 1 << 20,
        },
        {
            "batch_size": 471,
            "samples_per_second": 820.0,
            "samples_per_second_spread": None,
            "num_rounds": 1,
            "peak_memory_bytes": None,
        },
    ] == case["speeds"]
