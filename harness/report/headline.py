"""Renders the reason why a case failed in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.bounds.failed_probes import telling_failure
from harness.probes.outcomes import describe_outcome
from harness.report import words

if TYPE_CHECKING:
    from harness.bounds.verdict import Violation
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement
    from harness.report.case_result import CaseResult


def headline(result: CaseResult) -> str:
    """Return the reason why a case failed or could not be run, in one line."""
    measurement = result.measurement
    if measurement is None and result.violations:  # only the lock was checked
        return "; ".join(violation.message for violation in result.violations)
    if measurement is None or not result.violations:
        return (result.reason or result.status).partition("\n")[0]
    if measurement.max_batch_size == 0:
        shown = telling_failure(measurement)
        return "no batch size trains" + (f": {describe_outcome(shown)}" if shown else "")
    return "; ".join(
        _headline(violation, measurement, result.locked) for violation in result.violations
    )


def _headline(violation: Violation, measurement: Measurement, locked: LockedProfile | None) -> str:
    here = words.place(measurement.device, {})
    text = {
        "missing": f"{violation.message} on {here}" if locked else f"never locked on {here}",
        "fingerprint": "the lock is stale: the workload changed",
        "recipe": "the lock is stale: the recipe changed",
    }.get(violation.bound, violation.message)
    if violation.bound == "predicted_batch_size":
        assert isinstance(violation.locked, int), "a prediction fell from a locked one"
        change = words.relative_change(measurement.max_batch_size, violation.locked)
        text = (
            f"predicted max batch {violation.measured} ({change}) where {violation.locked} "
            "is locked"
        )
    elif violation.bound == "batch_size":
        assert isinstance(violation.locked, int), "a batch size fell from a locked one"
        change = words.relative_change(measurement.max_batch_size, violation.locked)
        text = (
            f"max batch {violation.measured} ({change}) where at least {violation.allowed} "
            "is allowed"
        )
    elif violation.bound == "throughput":
        text = f"{violation.measured:g} samples/s where at least {violation.allowed:g} are allowed"
    elif violation.bound == "learning_rate" and violation.measured is None:
        text = f"no learning rate where {violation.locked:.3g} is locked"
    elif violation.bound == "learning_rate":
        text = f"learning rate {violation.measured:.3g} where {violation.allowed} is allowed"
    return text
