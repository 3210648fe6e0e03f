"""Finds the likely causes of a changed value: what else differs from the locked profile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.bounds.failed_probes import telling_failure
from harness.bounds.verdict import Verdict, Violation
from harness.identity.fingerprint import mapping_changes, workload_changes
from harness.identity.same_workload import same_workload

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement


def likely_causes(measurement: Measurement, locked: LockedProfile) -> tuple[str, ...]:
    """Return the known differences from the locked profile, the most telling first."""
    causes = []
    if not same_workload(locked, measurement):
        causes.append(f"the workload changed: {_workload_changes(measurement, locked)}")
    if measurement.recipe != locked.recipe:
        causes.append(f"the recipe changed: {_recipe_changes(measurement, locked)}")
    if measurement.bounded_by != locked.bounded_by:
        causes.append(
            f"bounded by {measurement.bounded_by}, no longer by {locked.bounded_by}"
            f"{failure_detail(measurement)}"
        )
    then, now = locked.made_with, measurement.made_with
    if measurement.source == "predicted":
        then, now = locked.predicted_with, measurement.predicted_with
    if versions := mapping_changes(then, now):
        causes.append(f"made with other versions: {', '.join(versions)}")
    return tuple(causes)


def judge_workload(measurement: Measurement, locked: LockedProfile) -> Verdict:
    """Return the verdict on the workload: a lock of another workload is stale."""
    if same_workload(locked, measurement):
        return Verdict()
    changes = _workload_changes(measurement, locked)
    message = f"the lock is stale, it describes another workload: {changes}"
    return Verdict(
        (
            Violation(
                "fingerprint",
                locked.fingerprint,
                measurement.fingerprint,
                locked.fingerprint,
                message,
            ),
        )
    )


def judge_recipe(measurement: Measurement, locked: LockedProfile) -> Verdict:
    """Return the verdict on the recipe: a lock that was made with another recipe is stale."""
    if measurement.recipe == locked.recipe:
        return Verdict()
    changes = _recipe_changes(measurement, locked)
    message = f"the lock is stale, it was made with another recipe: {changes}"
    return Verdict(
        (Violation("recipe", locked.recipe, measurement.recipe, locked.recipe, message),)
    )


def because(measurement: Measurement, locked: LockedProfile) -> str:
    """Return the likely causes as the end of a message, or an empty text if none is known."""
    causes = likely_causes(measurement, locked)
    return f"; likely cause: {'; '.join(causes)}" if causes else ""


def failure_detail(measurement: Measurement) -> str:
    """Return the error that ended the search, or an empty text."""
    errors = [probe for probe in measurement.probes if probe.outcome == "error"]
    shown = telling_failure(replace(measurement, max_batch_size=0, probes=tuple(errors)))
    if shown is None:
        return ""
    where = f" in {shown.phase}" if shown.phase else ""
    return f" (batch {shown.batch_size} failed{where}: {shown.detail or 'no detail'})"


def _workload_changes(measurement: Measurement, locked: LockedProfile) -> str:
    changes = workload_changes(locked.workload, measurement.workload)
    return ", ".join(changes) or "its parts were not recorded"


def _recipe_changes(measurement: Measurement, locked: LockedProfile) -> str:
    changes = mapping_changes(locked.settings, measurement.settings, absent="the default")
    return (
        ", ".join(changes) or "its settings read the same, so a default or the environment changed"
    )
