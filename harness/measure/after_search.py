"""After the search: trains the tuned batch for longer, snapshots the first batch that failed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import WorkloadError
from harness.measure.batch_sizes import train
from harness.probes.outcomes import describe_outcome

if TYPE_CHECKING:
    from harness.measurement import Measurement
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")


def soak(opened: OpenCase, measurement: Measurement) -> None:
    """Train the tuned batch for `search.soak_steps`.

    Raises WorkloadError when it fails before that: there is then nothing worth locking.
    """
    case = opened.case
    steps, batch_size = case.search.soak_steps, measurement.batch_size
    if not steps:
        return
    _log.info("%s: training batch %d for %d steps", case.id, batch_size, steps)
    probe = train(opened, batch_size, steps=steps)
    if probe.outcome != "fits":
        accumulated = int(case.trainer.get("accumulate_grad_batches", 1))
        num_steps = probe.samples // (batch_size * accumulated)
        raise WorkloadError(
            f"batch {batch_size} trains for {case.search.steps_per_trial} steps, but not for the "
            f"{steps} of search.soak_steps: {describe_outcome(probe)} after {num_steps} of them. "
            "Its memory grows while it trains: find what it keeps, or leave room with "
            f"search.safety_factor (the probe's output is in {probe.log})",
            probe.traceback or "",
            log=probe.log,
        )


def with_snapshot(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add the allocator's history for the smallest batch that runs out of memory, if there is one.

    Only some devices have such a history; others leave the measurement as it is.
    """
    too_large = measurement.max_batch_size + 1
    failed = any(
        probe.batch_size == too_large and probe.outcome == "oom" for probe in measurement.probes
    )
    runner = opened.runner
    if not (runner.device.can_snapshot and failed):
        return measurement
    path = runner.directory / f"out-of-memory-b{too_large}.pickle"
    train(opened, too_large, snapshot=path)
    if not path.exists():
        return measurement
    return replace(measurement, artifacts=(*measurement.artifacts, str(path)))
