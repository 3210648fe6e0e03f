"""Renders a run in the formats of Bencher and of github-action-benchmark.

Bencher Metric Format: https://bencher.dev/docs/reference/bencher-metric-format. The other one:
https://github.com/benchmark-action/github-action-benchmark, whose inputs `tool:
customBiggerIsBetter` and `tool: customSmallerIsBetter` read it; a file has one direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.benchmark_formats.benchmarks import Benchmark, benchmarks_of
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.benchmark_formats.benchmarks import Direction
    from harness.page.report_model import Case, Report


def render(report: Report, name: str) -> Any:
    """Return a report in one of `FORMATS`, as data for JSON.

    Raises HarnessError where the report has no value for it: github-action-benchmark fails on an
    empty list.
    """
    content = FORMATS[name](report)
    if not content:
        missing = (
            "peak_memory_bytes, of cases whose batch the data or a setting bound"
            if name == "customSmallerIsBetter"
            else "batch sizes, of cases that were measured or predicted"
        )
        raise HarnessError(f"the report has no value for --format {name}: {missing}")
    return content


def _bencher(report: Report) -> dict[str, Any]:
    """Map each case to its measures."""
    found: dict[str, Any] = {}
    for case in report.cases:
        measures = {one.name: _metric(one) for one in benchmarks_of(case)}
        if measures:
            found[case.id] = measures
    return found


def _metric(one: Benchmark) -> dict[str, float]:
    bounds = {"lower_value": one.lower, "upper_value": one.upper}
    return {"value": one.value} | {key: at for key, at in bounds.items() if at is not None}


def _github_action(direction: Direction) -> Callable[[Report], list[dict[str, Any]]]:
    def entries(report: Report) -> list[dict[str, Any]]:
        return [
            _entry(case, one)
            for case in report.cases
            for one in benchmarks_of(case)
            if one.better == direction
        ]

    return entries


def _entry(case: Case, one: Benchmark) -> dict[str, Any]:
    entry = {"name": f"{case.id} {one.name}", "unit": one.unit, "value": one.value}
    if one.upper is not None:
        entry["range"] = f"± {one.upper - one.value:.4g}"
    return entry | {"extra": "\n".join(_extra(case))}


def _extra(case: Case) -> Iterator[str]:
    """Yield what a reader of a chart wants to know of a point."""
    if case.device is not None:
        yield f"device: {case.device.name}"
    yield f"source: {case.source}"
    if case.bounded_by is not None:
        yield f"bounded by: {case.bounded_by}"
    if case.batch_size is not None:
        yield f"batch size: {case.batch_size}"
    if case.learning_rate is not None:
        yield f"learning rate: {case.learning_rate:.4g}"
    versions = case.predicted_with if case.source == "predicted" else case.made_with
    if "torch" in versions:
        yield f"torch: {versions['torch']}"


FORMATS: dict[str, Callable[[Report], Any]] = {
    "bencher": _bencher,
    "customBiggerIsBetter": _github_action("bigger"),
    "customSmallerIsBetter": _github_action("smaller"),
}
"""The formats by name; those of github-action-benchmark have the names of its `tool`."""
