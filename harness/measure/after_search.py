"""After the search: refuses one in which CUDA itself is broken, soaks, and snapshots a failure."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search.buckets import in_turn
from harness.batch_search.training import keeps_memory, train
from harness.errors import MachineError, WorkloadError
from harness.failures.broken_libraries import broken_library
from harness.probes.outcomes import describe_outcome
from harness.progress.events import tell_phase

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.matrix.settings import SearchSettings
    from harness.measurement import Measurement
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")


def refuse_broken_libraries(opened: OpenCase, found: FoundBatch) -> None:
    """Raise where no batch size trains because CUDA's libraries fail, though the GPU has room.

    A largest batch of 0 would read as a regression, and it is none. Raises MachineError where a
    library cannot start or allocate, WorkloadError where cuDNN has no kernel for the workload.
    """
    failed = [probe for probe in found.probes if probe.outcome == "error"]
    if found.max_batch_size or not failed:
        return
    smallest = min(failed, key=lambda probe: probe.batch_size)
    broken = broken_library(smallest.detail or "")
    if broken is None:
        return
    message = (
        f"{opened.case.id}: no batch size trains: {describe_outcome(smallest)}. The GPU has memory "
        "to spare, so this is no matter of the batch size: "
    )
    if broken == "library":
        raise MachineError(
            f"{message}see whether driver, CUDA and torch fit together (`python -m "
            f"torch.utils.collect_env`), and restart what else may have spoiled the GPU (the "
            f"probe's output is in {smallest.log})"
        )
    raise WorkloadError(
        f"{message}cuDNN has no kernel for an operation of the workload; see its data types and "
        "memory formats, and whether cuDNN is the one that torch was built with",
        smallest.traceback or "",
        log=smallest.log,
    )


def soak(opened: OpenCase, measurement: Measurement) -> None:
    """Train the tuned batch for `search.soak_steps`.

    Raises WorkloadError when it fails before that: there is then nothing worth locking.
    """
    case = opened.case
    steps, batch_size = case.search.soak_steps, measurement.batch_size
    if not steps:
        return
    tell_phase(case.id, "soak")
    _log.info("%s: training batch %d for %d steps", case.id, batch_size, steps)
    grows = keeps_memory(measurement.probes)
    if measurement.buckets:
        opened = in_turn(opened, measurement.buckets)
    probe = train(opened, batch_size, steps=steps, whole_epochs=grows, short_steps=False)
    if probe.outcome != "fits":
        raise WorkloadError(
            f"batch {batch_size} trains for {case.search.steps_per_trial} steps, but not for the "
            f"{steps} of search.soak_steps: {describe_outcome(probe)} after {probe.steps} of them. "
            "Its memory grows while it trains: find what it keeps, or leave room with "
            f"search.safety_factor (the probe's output is in {probe.log})",
            probe.traceback or "",
            log=probe.log,
        )


def with_snapshot(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add the allocator's history for the smallest batch that runs out of memory, if there is one.

    Only some devices have such a history; others leave the measurement as it is.
    """
    too_large = _next_size(opened.case.search, measurement.max_batch_size)
    failed = any(
        probe.batch_size == too_large and probe.outcome == "oom" for probe in measurement.probes
    )
    runner = opened.runner
    if not (runner.device.can_snapshot and failed):
        return measurement
    path = runner.directory / f"out-of-memory-b{too_large}.pickle"
    grows = keeps_memory(measurement.probes)
    train(opened, too_large, snapshot=path, whole_epochs=grows)
    if not path.exists():
        return measurement
    return replace(measurement, artifacts=(*measurement.artifacts, str(path)))


def _next_size(search: SearchSettings, size: int) -> int:
    """Return the size that is tried above another one."""
    if search.global_batch_size is None:
        return size + search.round_to
    return min(search.micro_batches(size + 1, search.global_batch_size), default=size)
