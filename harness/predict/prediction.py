"""The parent side of a prediction: two traces of a case, and the largest batch on any number of GPUs. No torch."""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.bounds_predicted import LOCKED_HOLDERS
from harness.predict.allocator_settings import AllocatorSettings, cublas_workspace
from harness.predict.solving import Holder, Limits, holders_at_peak, largest_batch, simulate
from harness.predict.trace import AffineTrace, DirectTraces, TraceMismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.lockfile import LockedProfile
    from harness.matrix import Case
    from harness.measurement import BoundedBy
    from harness.predict.gpus import GpuFacts
    from harness.predict.trace import AnyBatch, Trace
    from harness.probe import Description, ProbeRunner

_log = logging.getLogger("harness")

# Batch 1 has a structure of its own: dimensions of size one broadcast and squeeze.
_TRACED = (2, 4)
RULES = "1"
"""What is taken for known of CUDA and its allocator, locked as `rules`: raised by each change that moves predictions."""
# What a prediction may be wrong by: a batch of this share of it is safe to train with.
SAFE_SHARE = 0.95


@dataclass(frozen=True)
class Prediction:
    """The largest batch of one case on one GPU."""

    gpu: GpuFacts
    max_batch_size: int
    """0 when not even the smallest batch that is allowed fits."""
    safe_batch_size: int
    """What may be trained with unseen: less by what the prediction may be off, where memory is the bound or near it."""
    bounded_by: BoundedBy
    limits: Limits
    peak_memory_bytes: int
    """Reserved at `max_batch_size`, or at the smallest batch that is allowed when that does not fit."""
    peak_phase: str
    holders: tuple[Holder, ...]
    """What is live where most is, the largest first."""
    notes: tuple[str, ...]


def trace_case(
    case: Case, runner: ProbeRunner, description: Description, capability: tuple[int, int]
) -> AnyBatch:
    """Trace two steps, and validation where a probe has it, for GPUs of one compute capability.

    At two batch sizes, from which all others follow; where the steps depend on the batch size, at each that is asked for,
    as long as the runner is open. Raises UntraceableError when training depends on more than shapes, WorkloadError when it
    fails.
    """
    steps = int(case.search.validation is True and description.validation)

    def take(*batch_sizes: int) -> list[Trace]:
        return runner.trace(batch_sizes, validation_steps=steps, capability=capability)

    small, large = take(*_TRACED)
    try:
        return AffineTrace(small, large)
    except TraceMismatchError as error:
        _log.info("%s: %s: each batch size is traced by itself", case.id, error)
        return DirectTraces(lambda batch_size: take(batch_size)[0])


def predict(case: Case, description: Description, training: AnyBatch, gpu: GpuFacts) -> Prediction:
    """Solve for the largest batch on a GPU, under the case's own fraction, budget and bounds."""
    settings = case.search
    # The memory that a case on the CPU may have says nothing of a GPU.
    budget = case.device.budget if case.device.accelerator == "cuda" else None
    total = min(budget or gpu.total_bytes, gpu.total_bytes)
    allocator, notes = AllocatorSettings.of_environment(os.environ)
    limits = Limits(int(settings.target_memory_fraction * total), _workspace_bytes(case, gpu), allocator)
    cap = settings.max_batch_size
    maximum = min(cap, description.num_samples or cap)
    largest = largest_batch(training, limits, maximum=maximum)
    beyond = largest
    if largest == maximum:  # not memory's bound, which may be far off or near
        beyond = largest_batch(training, limits, maximum=int(largest / SAFE_SHARE) + 1)
    if largest < settings.min_batch_size:
        largest = 0
    trace = training.at(largest or settings.min_batch_size)
    phase, holders = holders_at_peak(trace, limits)
    notes = trace.notes + notes
    if gpu.note is not None:
        notes += (gpu.note,)
    return Prediction(
        gpu=gpu,
        max_batch_size=largest,
        safe_batch_size=min(largest, int(SAFE_SHARE * beyond)),
        bounded_by=_bound(largest, maximum, cap),
        limits=limits,
        peak_memory_bytes=simulate(trace, limits).peak_memory_bytes,
        peak_phase=phase,
        holders=tuple(holders),
        notes=notes,
    )


def locked_values(
    prediction: Prediction, training: AnyBatch, versions: Mapping[str, str], locked: LockedProfile | None
) -> dict[str, Any]:
    """Return the fields of a measurement that a prediction fills: what is locked of it, and compared with the lock."""
    if not prediction.max_batch_size:
        return {}
    at_locked: tuple[Holder, ...] = ()
    if locked is not None and locked.predicted_batch_size is not None:
        at_locked = tuple(holders_at_peak(training.at(locked.predicted_batch_size), prediction.limits)[1])
    return {
        "predicted_batch_size": prediction.max_batch_size,
        "predicted_with": dict(versions) | {"rules": RULES},
        "predicted_peak": {str(holder): holder.num_bytes for holder in prediction.holders[:LOCKED_HOLDERS]},
        "predicted_at_locked": {str(holder): holder.num_bytes for holder in at_locked},
    }


def _workspace_bytes(case: Case, gpu: GpuFacts) -> int:
    """Return what cuBLAS takes per thread. Lightning chooses a size where determinism is asked for and none is chosen."""
    chosen = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    if chosen is None and case.trainer.get("deterministic"):
        chosen = ":4096:8"
    return gpu.workspace_bytes if chosen is None else cublas_workspace(chosen)


def _bound(largest: int, maximum: int, cap: int) -> BoundedBy:
    if largest == maximum:
        return "dataset" if maximum < cap else "cap"
    return "memory" if largest else "nothing fits"


def by_kind(holders: tuple[Holder, ...]) -> Mapping[str, int]:
    """Sum the bytes of each kind."""
    sums: Counter[str] = Counter()
    for holder in holders:
        sums[holder.kind] += holder.num_bytes
    return sums
