"""Decides which cases may share a GPU; one that lacks memory beside others is measured alone."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.devices.cuda import CONTEXT_BYTES, CudaDevice
from harness.errors import MachineError, WorkloadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.devices.device import Device
    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import Measurement

_log = logging.getLogger("harness")

# A case that its cap or its data set bounds may take more than it did when it was locked.
_GROWTH = 1.25
# Two cases that claim more cannot share.
_MOST_SHARE = 0.5


def claim_of(case: Case, device: CudaDevice, locked: LockedProfile | None) -> int | None:
    """Return what a case may reserve of a GPU beside others; None where it needs a GPU of its own.

    With a budget that is the budget. Else it is the locked peak and a quarter, if a cap or the data
    set bounds the batch and not memory. A case that is timed needs the GPU for itself, and so does
    a command, whose processes each have a limit.
    """
    search = case.search
    is_timed = (
        search.objective == "throughput"
        or case.bounds.throughput.max_drop is not None
        or case.workers.max is not None
    )
    if is_timed or case.workload.get("command") is not None:
        return None
    claim = case.device.budget
    if claim is None:
        searches_more = search.validation == "search" or search.inference
        peak = locked.peak_memory_bytes if locked is not None else None
        if locked is None or peak is None or searches_more:
            return None
        if locked.source != "measured" or locked.bounded_by not in ("cap", "dataset"):
            return None
        claim = int(_GROWTH * peak)
    return claim if claim + CONTEXT_BYTES <= _MOST_SHARE * device.total_bytes else None


def alone_if_crowded(case: Case, device: Device, measure: Callable[[], Measurement]) -> Measurement:
    """Measure a case; again on a GPU of its own if beside others it did not have what it needed.

    Raises the errors of `measure`.
    """
    if not isinstance(device, CudaDevice) or device.claim_bytes is None:
        return measure()
    try:
        found = measure()
        why = None if case.device.budget is not None else _lacked(found)
    except (MachineError, WorkloadError) as error:
        if not device.shared or (isinstance(error, WorkloadError) and case.device.budget):
            raise
        found, why = None, str(error).partition("\n")[0]
    if found is not None and why is None:
        # Others on the GPU slow a case down.
        return replace(found, samples_per_second=None)
    _log.warning("%s: measured again without sharing its GPU: %s", case.id, why)
    device.claim_bytes = None
    again = measure()
    note = f"it was measured again without sharing its GPU: {why}"
    return replace(again, warnings=(*again.warnings, note))


def _lacked(found: Measurement) -> str | None:
    """Return that a probe ran out of memory at its claim, which is less than its limit."""
    for probe in found.probes:
        if probe.outcome == "oom":
            return f"batch {probe.batch_size} ran out of the memory that it claimed beside others"
    return None
