"""A run in the formats of Bencher and of github-action-benchmark."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jsonschema  # type: ignore[import-untyped] # its types are published apart
import pytest
from case_results import CPU, locked, measurement, result, unmeasured
from page_reports import as_json

from harness.benchmark_formats import render
from harness.errors import HarnessError
from harness.measurement import Bucket
from harness.page.report_model import Report, report_of

CASE = "resnet18-cpu-256MiB-32"
NUMBER = {"type": "number"}
METRIC = {
    "type": "object",
    "required": ["value"],
    "properties": {"value": NUMBER, "lower_value": NUMBER, "upper_value": NUMBER},
}
# As https://bencher.dev/docs/reference/bencher-metric-format describes it.
BMF = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": METRIC},
}
TEXT = {"type": "string"}
# What `BenchmarkResult` of the action's src/extract.ts takes without changing it; no null.
ENTRIES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "unit", "value"],
        "properties": {"name": TEXT, "unit": TEXT, "value": NUMBER, "range": TEXT, "extra": TEXT},
        "additionalProperties": False,
    },
}


def of(**changes: Any) -> Report:
    """Return the report of a measured case with these changes, and of one that was skipped."""
    return report_of(
        as_json(result(measurement(**changes)), unmeasured("skipped", "no GPU", gpu="h200"))
    )


def values(report: Report, name: str) -> dict[str, Any]:
    """Return the entries for the action by name; check them."""
    entries = render(report, name)
    jsonschema.validate(entries, ENTRIES)
    return {entry.pop("name"): entry for entry in entries}


def test_bencher_has_each_measure_of_a_case() -> None:
    """Speeds have their spread, and learning rates their range; a skipped case has nothing."""
    found = render(of(samples_per_second=1000.0, samples_per_second_spread=25.0), "bencher")
    jsonschema.validate(found, BMF)
    assert {
        CASE: {
            "max_batch_size": {"value": 471},
            "samples_per_second": {"value": 1000.0, "lower_value": 975.0, "upper_value": 1025.0},
            "learning_rate": {
                "value": 0.00316,
                "lower_value": 0.002107,
                "upper_value": 0.00474,
            },
        }
    } == found


def test_action_has_what_is_better_when_bigger() -> None:
    """The learning rate has no better direction: it stands beside the others, for readers."""
    report = of(samples_per_second=1000.0, samples_per_second_spread=25.0)
    found = values(report, "customBiggerIsBetter")
    assert [f"{CASE} max_batch_size", f"{CASE} samples_per_second"] == [*found]
    assert (1000.0, "samples/s", "± 25") == tuple(
        found[f"{CASE} samples_per_second"][key] for key in ("value", "unit", "range")
    )
    extra = found[f"{CASE} max_batch_size"]["extra"].splitlines()
    assert {f"device: {CPU.name}", "source: measured", "learning rate: 0.00316"} <= {*extra}


def test_sizes_of_all_kinds_are_there() -> None:
    """A validation batch that was searched, functions of inference, and buckets."""
    report = of(
        validation_batch_size=2048,
        inference_batch_sizes={"predict": 4096},
        buckets=(Bucket(128.0, 64, 96),),
        predicted_batch_size=480,
    )
    found = values(report, "customBiggerIsBetter")
    assert {
        "predicted_batch_size": 480,
        "max_batch_size": 471,
        "validation_batch_size": 2048,
        "inference_batch_sizes.predict": 4096,
        "buckets.128.max_batch_size": 96,
    } == {
        name.removeprefix(f"{CASE} "): entry["value"]
        for name, entry in found.items()
        if entry["unit"] == "samples"
    }


def test_prediction_has_its_batch_alone() -> None:
    """It is a benchmark of its own: a measured batch of the same case is another line."""
    predicted = measurement(source="predicted", predicted_batch_size=471, learning_rate=None)
    report = report_of(as_json(replace(result(predicted), source="predicted")))
    assert [f"{CASE} predicted_batch_size"] == [*values(report, "customBiggerIsBetter")]


def test_peak_is_a_benchmark_where_memory_is_not_the_bound() -> None:
    """Where memory is, the peak is at the limit, and the action refuses an empty list."""
    peak = values(of(bounded_by="dataset"), "customSmallerIsBetter")[f"{CASE} peak_memory_bytes"]
    assert (262_250_000, "bytes") == (peak["value"], peak["unit"])
    with pytest.raises(HarnessError, match="no value for --format customSmallerIsBetter: peak_mem"):
        render(of(), "customSmallerIsBetter")


def test_locked_values_are_none_of_this_run() -> None:
    """A case that was not measured has no benchmark, also where it is locked."""
    skipped = replace(unmeasured("skipped", "no GPU", gpu="h200"), locked=locked())
    with pytest.raises(HarnessError, match="no value for --format bencher: batch sizes"):
        render(report_of(as_json(skipped)), "bencher")
