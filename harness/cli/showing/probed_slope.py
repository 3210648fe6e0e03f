"""Compares what a sample takes by the last run's probes with what the stored table says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from harness.lockfile.report_file import UnreadableReportError, read_report
from harness.units import format_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from harness.breakdown.shares import Breakdown
    from harness.lockfile.profiles import LockedProfile

_REPORT = "report.json"
# Closer batches tell the noise of their peaks, and not what a sample takes.
_DISTINCT = 0.8
# Peaks on the CPU are whole pages, and on a GPU whole segments.
_AGREES = 0.05


class ProbedSlope(NamedTuple):
    """The line through the peaks of the largest batch and of a smaller one."""

    smaller: int
    """The smaller batch size."""
    bytes_per_sample: int


def probed_slope(profile: LockedProfile, results: Path) -> ProbedSlope | None:
    """Return what each sample takes between two probes of the last run.

    results: the folder of the run's results. The report there may be missing, unreadable or of
    another measurement: then this is None. It is None, too, where the run has not trained a smaller
    batch, as with a lock that was confirmed.
    """
    try:
        report = read_report(results / _REPORT)
    except UnreadableReportError:
        return None
    cases = [] if report is None else report["cases"]
    own = next((case for case in cases if isinstance(case, dict) and _same(case, profile)), None)
    probes = own.get("probes") if own is not None else None
    peaks = {
        probe["batch_size"]: probe["peak_memory_bytes"]
        for probe in (probes if isinstance(probes, list) else [])
        if isinstance(probe, dict)
        and (probe.get("kind"), probe.get("outcome")) == ("train", "fits")
        and _is_count(probe.get("batch_size"))
        and _is_count(probe.get("peak_memory_bytes"))
    }
    top = peaks.pop(profile.max_batch_size, None)
    smaller = max((size for size in peaks if size <= _DISTINCT * profile.max_batch_size), default=0)
    if top is None or not smaller:
        return None
    return ProbedSlope(smaller, (top - peaks[smaller]) // (profile.max_batch_size - smaller))


def compare_slopes(profile: LockedProfile, parts: Breakdown, probed: ProbedSlope) -> str:
    """Return in words whether the table and the probes agree on what a sample takes."""
    held = sum(row.bytes_per_sample or 0 for row in parts.rows)
    between = f"the probes of batch {probed.smaller} and {profile.max_batch_size}"
    text = (
        f"each sample takes {format_bytes(held)} by this table, and "
        f"{format_bytes(probed.bytes_per_sample)} by {between} in the last run"
    )
    if abs(held - probed.bytes_per_sample) <= _AGREES * max(held, probed.bytes_per_sample):
        return f"{text}: they agree"
    if parts.beyond_bytes:
        return f"{text}: near the limit the training takes less"
    if held < probed.bytes_per_sample:
        return f"{text}: what is unexplained grows with the batch, too"
    return f"{text}: what is unexplained shrinks as the batch grows"


def _same(case: dict[str, Any], profile: LockedProfile) -> bool:
    """Return whether a case of a report is the profile's measurement."""
    device = case.get("device")
    if not isinstance(device, dict) or any(
        device.get(name) != getattr(profile.device, name) for name in ("name", "memory_bytes")
    ):
        return False
    known = (profile.case_id, profile.fingerprint, profile.recipe, profile.max_batch_size)
    return known == tuple(
        case.get(name) for name in ("id", "fingerprint", "recipe", "max_batch_size")
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63
