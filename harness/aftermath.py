"""What is done with the maximum once it is found: a soak of the tuned batch, and a snapshot of what failed beyond."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search import train
from harness.endings import WorkloadError
from harness.progress import describe_ending

if TYPE_CHECKING:
    from harness.matrix import Case
    from harness.measurement import Measurement
    from harness.probe import Description, ProbeRunner

_log = logging.getLogger("harness")


def soak(case: Case, runner: ProbeRunner, description: Description, measurement: Measurement) -> None:
    """Train the tuned batch for `search.soak_steps`.

    Raises WorkloadError when it does not last that long: there is then nothing worth locking.
    """
    steps, batch_size = case.search.soak_steps, measurement.batch_size
    if not steps:
        return
    _log.info("%s: training batch %d for %d steps", case.id, batch_size, steps)
    done = train(case, runner, description, batch_size, steps=steps)
    if done.outcome != "fits":
        num_steps = done.samples // (batch_size * int(case.trainer.get("accumulate_grad_batches", 1)))
        raise WorkloadError(
            f"batch {batch_size} trains for {case.search.steps_per_trial} steps, but not for the {steps} of "
            f"search.soak_steps: {describe_ending(done)} after {num_steps} of them. Its memory grows while it trains: "
            f"find what it keeps, or leave room with search.safety_factor (the probe's output is in {done.log})",
            done.traceback or "",
            log=done.log,
        )


def with_snapshot(
    case: Case, runner: ProbeRunner, description: Description, measurement: Measurement
) -> Measurement:
    """Have the smallest batch that runs out of memory leave the allocator's history, where there is one."""
    too_large = measurement.max_batch_size + 1
    failed = any(probe.batch_size == too_large and probe.outcome == "oom" for probe in measurement.probes)
    if not (runner.device.can_snapshot and failed):
        return measurement
    path = runner.directory / f"out-of-memory-b{too_large}.pickle"
    train(case, runner, description, too_large, snapshot=path)
    return (
        replace(measurement, artifacts=(*measurement.artifacts, str(path))) if path.exists() else measurement
    )
