"""Renders report.json, the results for programs.

The keys of version 1 keep their meaning; others may be added.
"""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from harness.case_names import MAIN_AXES
from harness.lockfile.measured import VERSION
from harness.measurement import Measurement
from harness.report.tracebacks import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lockfile.precisions import Recommendation
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Probe
    from harness.report.case_result import CaseResult

# Fields that have a key of their own, that words show better, or that would make the report large.
_APART = {
    "axes",
    "device",
    "workload",
    "settings",
    "predicted_at_locked",
    "predicted_lines",
    "buckets",
    "probes",
    "speeds",
    "speeds_again",
    "lr_curves",
    "warnings",
    "seconds",
}
_MEASURED = tuple(one.name for one in fields(Measurement) if one.name not in _APART)


def render_json(
    results: Sequence[CaseResult],
    preset: str | None = None,
    recommendations: Sequence[Recommendation] = (),
) -> dict[str, Any]:
    """Return the content of report.json, sorted by case.

    Every case has every key. An unknown value is null; so are infinities and NaN, which JSON lacks.
    Bytes and seconds are plain numbers. `peak_memory_bytes` is that of `max_batch_size`; `locked`
    is the committed profile that the case was compared with.
    """
    rows = sorted(results, key=lambda result: result.case_id)
    return {
        "version": VERSION,
        "preset": preset,
        "recommended_precisions": [_finite(one.to_json()) for one in recommendations],
        "cases": [_finite(_case(result)) for result in rows],
    }


def _case(result: CaseResult) -> dict[str, Any]:
    measurement = result.measurement
    return {
        "id": result.case_id,
        **{axis: result.axes.get(axis) for axis in MAIN_AXES},
        "axes": dict(result.axes),
        "status": result.status,
        "reason": result.reason,
        "source": result.source,
        **{name: getattr(measurement, name, None) for name in _MEASURED},
        "device": asdict(measurement.device) if measurement else None,
        "buckets": [asdict(bucket) for bucket in measurement.buckets] if measurement else [],
        "probes": [_probe(probe) for probe in measurement.probes] if measurement else [],
        "speeds": [asdict(speed) for speed in measurement.speeds] if measurement else [],
        "speeds_again": [asdict(one) for one in measurement.speeds_again] if measurement else [],
        "violations": [asdict(violation) for violation in result.violations],
        "improvements": list(result.improvements),
        "warnings": list(result.all_warnings),
        "locked": _locked(result.locked) if result.locked else None,
        "accepted": result.accepted,
        "update_command": result.update_command,
        "seconds": result.seconds,
    }


def _locked(profile: LockedProfile) -> dict[str, Any]:
    # Unknown keys of a newer lock may hold TOML's dates, which JSON lacks.
    return {key: value for key, value in asdict(profile).items() if key != "extra"}


def _probe(probe: Probe) -> dict[str, Any]:
    shown = asdict(probe)
    if probe.traceback is not None:
        shown["traceback"] = shorten(probe.traceback)
    # Readers know three outcomes; a data set that is too small is an error of the data.
    if probe.outcome == "dataset":
        shown |= {"outcome": "error", "phase": "data"}
    return shown


def _finite(value: Any) -> Any:
    """Return the value with lists for tuples and None for floats that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
