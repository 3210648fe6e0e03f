"""Renders report.json, the results for programs.

The keys of version 1 keep their meaning; others may be added.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from harness.bounds.grown import growth
from harness.breakdown.shares import predicted_holders
from harness.lockfile.report_file import VERSION
from harness.measurement import LOCKED_HOLDERS, Profile
from harness.report.documents import MEASURED
from harness.report.headline import headline
from harness.report.lr_curves import lr_sweeps, lr_trials
from harness.report.plain_data import plain_data
from harness.report.tracebacks import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.lockfile.precisions import Recommendation
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Probe
    from harness.report.case_result import CaseResult
    from harness.report.documents import Grown, Report, ReportedCase

_READ_BY_PEOPLE = 100


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
    content: Report = {
        "version": VERSION,
        "preset": preset,
        "recommended_precisions": list(recommendations),
        "cases": [reported_case(result) for result in rows],
    }
    data: dict[str, Any] = plain_data(content)
    return data


def json_parts(
    results: Sequence[CaseResult],
    preset: str | None = None,
    recommendations: Sequence[Recommendation] = (),
) -> Iterator[str]:
    """Yield the text of report.json in parts: as a whole it would take much memory.

    People read a short report. A long one has a line for each case, which is written ten times as
    fast.
    """
    if len(results) <= _READ_BY_PEOPLE:
        data = render_json(results, preset, recommendations)
        yield json.dumps(data, indent=2, allow_nan=False) + "\n"
        return
    start = json.dumps(render_json((), preset, recommendations), allow_nan=False)
    yield start.removesuffix("]}")
    rows = sorted(results, key=lambda result: result.case_id)
    for number, row in enumerate(rows):
        case = json.dumps(plain_data(reported_case(row)), allow_nan=False)
        yield f"{',' if number else ''}\n{case}"
    yield "\n]}\n"


def reported_case(result: CaseResult) -> ReportedCase:
    """Return the result of a case as report.json has it."""
    found = result.measurement
    case: ReportedCase = {
        "id": result.case_id,
        "model": result.axes.get("model"),
        "gpu": result.axes.get("gpu"),
        "resolution": result.axes.get("resolution"),
        "axes": result.axes,
        "status": result.status,
        "reason": result.reason,
        "headline": headline(result) if result.status in ("failed", "error") else None,
        "source": result.source,
        "device": found.device if found else None,
        "buckets": list(found.buckets) if found else [],
        "probes": [shown_probe(probe) for probe in found.probes] if found else [],
        "speeds": list(found.speeds) if found else [],
        "speeds_again": list(found.speeds_again) if found else [],
        "lr_sweeps": lr_sweeps(found) if found else [],
        "lr_trials": lr_trials(found) if found else [],
        "grown": _grown(result),
        "predicted_at_locked": _predicted_at_locked(result),
        "violations": list(result.violations),
        "improvements": list(result.improvements),
        "warnings": list(result.all_warnings),
        "locked": without_extra(result.locked) if result.locked else None,
        "accepted": result.accepted,
        "update_command": result.update_command,
        "seconds": result.seconds,
    }
    measured = {name: getattr(found, name, None) for name in MEASURED}
    return cast("ReportedCase", {**measured, **case})


def _predicted_at_locked(result: CaseResult) -> dict[str, int]:
    if result.measurement is None or result.locked is None:
        return {}
    held, locked = result.measurement.predicted_at_locked, predicted_holders(result.locked)
    largest = sorted(held, key=lambda name: -held[name])[:LOCKED_HOLDERS]
    return {name: held[name] for name in held if name in largest or name in locked}


def _grown(result: CaseResult) -> list[Grown]:
    if result.measurement is None or result.locked is None:
        return []
    return [
        {
            "holder": one.holder,
            "then_bytes": one.then_bytes,
            "now_bytes": one.now_bytes,
            "at_most": one.at_most,
            "line": one.line,
        }
        for one in growth(result.measurement, result.locked)
    ]


def without_extra(profile: LockedProfile) -> Profile:
    """Return a locked profile without the keys of its block that this version does not know."""
    return Profile(**profile.profile_values())


def shown_probe(probe: Probe) -> Probe:
    """Return a probe as programs read it: three outcomes, and a traceback of bounded length."""
    if probe.traceback is not None:
        probe = replace(probe, traceback=shorten(probe.traceback))
    # Readers know three outcomes; a data set that is too small is an error of the data.
    return replace(probe, outcome="error", phase="data") if probe.outcome == "dataset" else probe
