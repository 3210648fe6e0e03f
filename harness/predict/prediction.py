"""Predicts the largest batch of a case on any number of GPUs, from two traces. Knows no torch."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.allocator.settings import AllocatorSettings, cublas_workspace
from harness.errors import UntraceableError
from harness.measurement import LOCKED_HOLDERS, Predicted
from harness.predict.largest_batch import Holder, Limits, holders_at_peak, largest_batch, simulate
from harness.predict.trace import AffineTrace, DirectTraces, QuadraticTrace, TraceMismatchError
from harness.predict.trace_request import take_traces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.matrix.case import Case
    from harness.measurement import BoundedBy
    from harness.predict.gpus import GpuFacts
    from harness.predict.trace import AnyBatch, Trace
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")

# Batch 1 has a structure of its own: dimensions of size one broadcast and squeeze.
_TRACED = (2, 4)
# Where sizes grow faster than the batch: the third for a parabola, and one to check it by.
_FURTHER = (8, 16)
# How long traces may be taken one by one.
_DIRECT_SECONDS = 300
RULES = "1"
"""The version of the facts about CUDA and its allocator that predictions rely on.

It is locked as `rules`. Every change that moves predictions raises it.
"""
# What a prediction may be wrong by: a batch of this share of it is safe to train with.
SAFE_SHARE = 0.95


@dataclass(frozen=True)
class Prediction:
    """The largest batch of one case on one GPU."""

    gpu: GpuFacts
    max_batch_size: int
    """0 when not even the smallest batch that is allowed fits."""
    safe_batch_size: int
    """A batch size to train with before any measurement.

    It is smaller than the largest by the possible error, if memory is the bound or near it.
    """
    shown_batch_size: int
    """The batch size whose peak is shown: the largest, or the smallest allowed one if none fits."""
    bounded_by: BoundedBy
    limits: Limits
    peak_memory_bytes: int
    """Reserved at `shown_batch_size`."""
    peak_phase: str
    holders: tuple[Holder, ...]
    """The holders of memory at the peak, the largest first."""
    notes: tuple[str, ...]

    def to_lock(self, training: AnyBatch, opened: OpenCase) -> Predicted | None:
        """Return what is locked of it, and compared with the lock; None when nothing fits."""
        if not self.max_batch_size:
            return None
        locked = opened.locked
        at_locked: tuple[Holder, ...] = ()
        if locked is not None and locked.predicted_batch_size is not None:
            trace = training.at(locked.predicted_batch_size)
            at_locked = tuple(holders_at_peak(trace, self.limits)[1])
        return Predicted(
            batch_size=self.max_batch_size,
            made_with=dict(opened.runner.versions) | {"rules": RULES},
            peak={str(holder): holder.num_bytes for holder in self.holders[:LOCKED_HOLDERS]},
            at_locked={str(holder): holder.num_bytes for holder in at_locked},
        )


def trace_case(opened: OpenCase, capability: tuple[int, int]) -> AnyBatch:
    """Trace two steps, and validation where a probe has it, for GPUs of one compute capability.

    Two batch sizes are traced, or four if sizes are quadratic in the batch size; all others follow
    from them. If the steps depend on the batch size, each size is traced when it is asked for, as
    long as the runner is open.

    Raises UntraceableError when training depends on more than shapes, WorkloadError when it fails.
    """
    case = opened.case
    known: list[Trace] = []

    def take(*batch_sizes: int) -> list[Trace]:
        known.extend(take_traces(opened.runner, batch_sizes, opened.validation_steps, capability))
        return known

    try:
        return _interpolated(take, opened.description.num_samples)
    except TraceMismatchError as error:
        reason = str(error)
    _log.warning("%s: %s, so each batch size is traced by itself", case.id, reason)
    until = time.monotonic() + _DIRECT_SECONDS

    def take_one(batch_size: int) -> Trace:
        if time.monotonic() > until:
            raise UntraceableError(
                f"{case.id}: {reason}, so each batch size is traced by itself; the largest was not "
                f"found within {_DIRECT_SECONDS} s, the next would be {batch_size}"
            )
        return take(batch_size)[-1]

    return DirectTraces(take_one, known)


def _interpolated(take: Callable[..., list[Trace]], num_samples: int | None) -> AnyBatch:
    """Return a trace for any batch size that follows from a few.

    `take` traces batch sizes and returns all traces so far. Raises TraceMismatchError when no other
    batch size follows from them.
    """
    _need(_TRACED[-1], num_samples)
    affine = AffineTrace(*take(*_TRACED))
    if not affine.is_outgrown:
        return affine
    _need(_FURTHER[-1], num_samples)
    *three, fourth = take(*_FURTHER)
    quadratic = QuadraticTrace(*three)
    if quadratic.at(fourth.batch_size) != fourth:
        raise TraceMismatchError(
            f"sizes at batch {fourth.batch_size} do not follow from those of smaller ones"
        )
    return quadratic


def _need(batch_size: int, num_samples: int | None) -> None:
    if num_samples is not None and num_samples < batch_size:
        raise TraceMismatchError(
            f"the data hold {num_samples} samples, and the traces need {batch_size}"
        )


def predict(opened: OpenCase, training: AnyBatch, gpu: GpuFacts) -> Prediction:
    """Solve for the largest batch on a GPU, under the case's own fraction, budget and bounds."""
    case, settings = opened.case, opened.case.search
    # The memory that a case on the CPU may have says nothing of a GPU.
    budget = case.device.budget if case.device.accelerator == "cuda" else None
    total = min(budget or gpu.total_bytes, gpu.total_bytes)
    allocator, notes = AllocatorSettings.of_environment(os.environ)
    limits = Limits(
        int(settings.target_memory_fraction * total), _workspace_bytes(case, gpu), allocator
    )
    cap = settings.max_batch_size
    maximum = min(cap, opened.description.num_samples or cap)
    largest = largest_batch(training, limits, maximum=maximum)
    safe = int(SAFE_SHARE * largest)
    if largest == maximum:  # not memory's bound, which may be far off or near
        safe = _safe_below(training, limits, largest)
    if largest < settings.min_batch_size:
        largest = safe = 0
    shown = largest or settings.min_batch_size
    trace = training.at(shown)
    phase, holders = holders_at_peak(trace, limits)
    notes = trace.notes + notes
    if gpu.note is not None:
        notes += (gpu.note,)
    return Prediction(
        gpu=gpu,
        max_batch_size=largest,
        safe_batch_size=safe,
        shown_batch_size=shown,
        bounded_by=_bound(largest, maximum, cap),
        limits=limits,
        peak_memory_bytes=simulate(trace, limits).peak_memory_bytes,
        peak_phase=phase,
        holders=tuple(holders),
        notes=notes,
    )


def _safe_below(training: AnyBatch, limits: Limits, fitting: int) -> int:
    """Return what is safe up to a batch that fits, though larger ones might."""
    if isinstance(training, DirectTraces):  # there may be no samples for larger ones
        near = (
            simulate(training.at(fitting), limits).peak_memory_bytes
            > SAFE_SHARE * limits.memory_limit_bytes
        )
        return int(SAFE_SHARE * fitting) if near else fitting
    beyond = largest_batch(training, limits, maximum=int(fitting / SAFE_SHARE) + 1)
    return min(fitting, int(SAFE_SHARE * beyond))


def _workspace_bytes(case: Case, gpu: GpuFacts) -> int:
    """Return the bytes that cuBLAS takes per thread.

    Lightning chooses their number for a deterministic training, unless the user has chosen one.
    """
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
