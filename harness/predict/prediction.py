"""Searches for the largest batch on a simulated GPU, and asks what holds the memory there."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.allocator.history import READABLE
from harness.batch_search.training import (
    SCOUTING_STEPS,
    allowed_sizes,
    num_steps,
    search_training,
    train,
)
from harness.breakdown.table import Table, make_table, smaller_batch
from harness.errors import UnpredictableError, WorkloadError
from harness.failures.broken_libraries import broken_library
from harness.measurement import LOCKED_HOLDERS, Predicted
from harness.predict.holders import PeakHolders
from harness.predict.safe import safe_batch_size, safe_if_fits
from harness.probes.outcomes import advise_multiple, describe_outcome, warn_of_growth
from harness.progress.events import tell_phase
from harness.search.estimates import safe_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.batch_search.sizes import FoundBatch
    from harness.measurement import BoundedBy, Probe
    from harness.predict.gpus import GpuFacts
    from harness.predict.simulation import SimulatedCase

_log = logging.getLogger("harness")

# Counted up when the library that answers for CUDA, or what is asked of it, changes batch sizes.
SIMULATION = "1"
# A replay looks no further than this for what the memory allows beyond data and settings.
_BEYOND = 1 << 20
_GROWING = (
    "the memory of batch {} still grew from step to step when its probe ended: a longer training "
    "may need more"
)
_NAMELESS = ("what holds the memory is not named: the modules of a command's process are its own",)


@dataclass(frozen=True)
class Prediction:
    """The largest batch of one case on one GPU."""

    gpu: GpuFacts
    max_batch_size: int
    """0 when not even the smallest batch that is allowed fits."""
    safe_batch_size: int
    """A batch size to train with before any measurement."""
    shown_batch_size: int
    """The batch size whose peak is shown: the largest, or the smallest allowed one if none fits."""
    bounded_by: BoundedBy
    memory_limit_bytes: int
    """Of reserved memory: the target fraction of what torch sees."""
    peak_memory_bytes: int
    """Reserved at `shown_batch_size`."""
    holders: PeakHolders | None
    """What holds memory at the peak of `shown_batch_size`; None where that cannot be told."""
    at_locked: PeakHolders | None
    """The same at the locked predicted batch; None also where none is locked."""
    made_with: Mapping[str, str]
    """Versions. Predictions of the same torch and simulation are compared exactly."""
    probes: tuple[Probe, ...]
    notes: tuple[str, ...]
    found: FoundBatch
    """What the search has found; `max_batch_size` is its own."""

    def to_lock(self) -> Predicted | None:
        """Return what is locked of it, and compared with the lock; None when nothing fits."""
        if not self.max_batch_size:
            return None
        return Predicted(
            batch_size=self.max_batch_size,
            made_with=dict(self.made_with),
            peak={} if self.holders is None else _largest(self.holders.by_name()),
            at_locked={} if self.at_locked is None else self.at_locked.by_name(),
            lines={} if self.at_locked is None else self.at_locked.lines(),
            step=() if self.holders is None else self.holders.timeline.thinned(),
            step_at_locked=() if self.at_locked is None else self.at_locked.timeline.thinned(),
        )


def predict(
    case: SimulatedCase,
    gpu: GpuFacts,
    *,
    with_holders: bool = True,
    snapshot: Path | None = None,
    expected: int | None = None,
) -> Prediction:
    """Search for the largest batch under the case's own fraction, budget and bounds.

    The search starts where a lock says, else where the histories of another GPU's search say. As a
    rule the result does not depend on that. Where memory is not monotone in the batch, several
    batches fit while the next one does not, and the start decides which of them is found; from a
    locked one it is found again.

    with_holders: also find out what holds the memory, which takes a probe of its own.
    snapshot: the file for what that probe has recorded, as in `held`.
    expected: the batch that the search tries first, where neither a lock nor a history tells one.

    Raises UnpredictableError when the training depends on values or asks what is not simulated,
    WorkloadError when it fails at every batch size, MachineError when the machine is at fault.
    """
    opened = case.opened
    minimum, maximum = allowed_sizes(opened)
    profile = opened.locked
    locked = None if profile is None else profile.predicted_batch_size
    # A measured profile holds a measured maximum; the search starts from the predicted one.
    start = None if profile is None or not locked else replace(profile, max_batch_size=locked)
    found = search_training(
        replace(opened, locked=start),
        case.histories.largest_kept(case.device.limit_bytes, maximum) or expected,
        case.histories,
    )
    refuse_unpredictable(found)
    largest = found.max_batch_size
    shown = largest or minimum
    best = found.best
    holders = held(case, shown, snapshot) if with_holders else None
    at_locked = None
    if locked:
        at_locked = holders if locked == shown and holders is not None else held(case, locked)
    return Prediction(
        gpu=gpu,
        max_batch_size=largest,
        safe_batch_size=_safe(case, found),
        shown_batch_size=shown,
        bounded_by=found.bounded_by,
        memory_limit_bytes=case.device.limit_bytes,
        peak_memory_bytes=(best.peak_memory_bytes if best else None) or case.device.limit_bytes,
        holders=holders,
        at_locked=at_locked,
        made_with=opened.runner.versions | {"simulated": SIMULATION},
        # Nothing was computed, so its speed is not one.
        probes=tuple(replace(probe, samples_per_second=None) for probe in found.probes),
        notes=_notes(best)
        + _step(case, found)
        + _beyond(case, found)
        + (_NAMELESS if opened.case.workload.get("command") is not None else ())
        + case.device.notes()
        + (() if gpu.note is None else (gpu.note,)),
        found=found,
    )


def _safe(case: SimulatedCase, found: FoundBatch) -> int:
    """Return the batch size that is safe: all of it, where memory's bound is far enough above."""
    largest, search = found.max_batch_size, case.opened.case.search
    if search.global_batch_size is not None and largest:
        # Divisors are far apart, so the largest that fits is safe as a rule.
        probe = train(case.opened, safe_if_fits(largest), steps=SCOUTING_STEPS, settle=False)
        if probe.outcome != "oom":
            return largest
        least = min(search.min_batch_size, largest)
        safe = search.micro_batches(least, max(least, safe_batch_size(largest)))
        return max(safe, default=largest)
    if found.bounded_by not in ("cap", "dataset"):
        return safe_batch_size(largest)
    beyond = case.histories.largest_kept(case.device.limit_bytes, 2 * largest) or largest
    return min(largest, safe_batch_size(max(largest, beyond)))


def _step(case: SimulatedCase, found: FoundBatch) -> tuple[str, ...]:
    """Return what makes the global batch, if one is asked for."""
    total, largest = case.opened.case.search.global_batch_size, found.max_batch_size
    ranks = case.opened.case.num_ranks
    if total is None or not largest:
        return ()
    number = total // largest
    batches = f"{number} micro-batch{'es' * (number > 1)}"
    step = f"a step of search.global_batch_size {total * ranks}"
    batches += f" on each of {ranks} ranks," if ranks > 1 else ""
    return (f"at the largest batch, {step} is {batches} of {largest}",)


def _beyond(case: SimulatedCase, found: FoundBatch) -> tuple[str, ...]:
    """Return what the memory would allow where the data, or a setting, are the bound."""
    settings = case.opened.case.search
    if found.bounded_by not in ("cap", "dataset") or settings.global_batch_size is not None:
        return ()
    # A prime tells blocks that hold samples from those of weights, whose sizes it does not divide.
    size = safe_size(found.max_batch_size)
    history = case.histories.file(size)
    estimate = case.histories.estimator(case.device.limit_bytes)
    if size < READABLE or history is None or estimate is None:
        return ()
    train(case.opened, size, steps=SCOUTING_STEPS, settle=False, history=history)
    told = estimate(size, _BEYOND + 1)
    if told is None or told.size <= found.max_batch_size:
        return ()
    allowed = told.size
    bound = "the data end" if found.bounded_by == "dataset" else "search.max_batch_size ends"
    about = "at least" if allowed >= _BEYOND else "about"
    note = (
        f"{bound} the search at batch {found.max_batch_size}; the memory allows {about} {allowed}, "
        "by a replay of what a smaller batch allocates"
    )
    return (note,)


def held(case: SimulatedCase, batch_size: int, snapshot: Path | None = None) -> PeakHolders | None:
    """Return what holds memory at the peak of a batch size, which need not fit.

    snapshot: the file for the allocator's history, for https://pytorch.org/memory_viz; None writes
        none.

    Returns None where nothing can tell, as in a command's process, or with an allocator that keeps
    no history. Raises MachineError when the machine is at fault.
    """
    opened = case.opened
    if opened.case.workload.get("command") is not None:
        return None
    tell_phase(opened.case.id, "holders of memory")
    _log.info("%s: finding what holds the memory of batch %d", opened.case.id, batch_size)
    file = opened.runner.directory / f"holders-b{batch_size}.json"
    try:
        with case.device.boundless():
            opened.runner.holders(
                batch_size,
                steps=num_steps(opened.case.search, SCOUTING_STEPS),
                validation_steps=opened.validation_steps,
                file=file,
                snapshot=snapshot,
            )
    except WorkloadError as error:
        _log.warning("%s: %s", opened.case.id, error)
        return None
    holders = PeakHolders.read(file)
    file.unlink()
    return holders


def table_of(case: SimulatedCase, prediction: Prediction) -> Table:
    """Return where the memory goes at the peak of the predicted batch; empty if not known.

    A probe of half of the batch tells what each sample takes. Raises as `held`.
    """
    size, search = prediction.max_batch_size, case.opened.case.search
    if prediction.holders is None or not size:
        return Table({}, {})
    smaller = smaller_batch(size, step=search.round_to, least=search.min_batch_size)
    less = None if smaller is None else held(case, smaller)
    return make_table(
        prediction.holders.by_name(), size, None if less is None else less.by_name(), smaller or 0
    )


def _largest(holders: Mapping[str, int]) -> dict[str, int]:
    """Return the first holders, which are the largest."""
    return dict(list(holders.items())[:LOCKED_HOLDERS])


def _notes(best: Probe | None) -> tuple[str, ...]:
    """Return what readers should know of the largest batch.

    That it thrashes is no note: as a rule it does, and nobody trains with it unseen.
    """
    if best is None:
        return ()
    growth = warn_of_growth(best)
    notes = best.notes + ((_GROWING.format(best.batch_size),) if best.growing else ())
    return notes if growth is None else (*notes, growth)


def refuse_unpredictable(found: FoundBatch) -> None:
    """Raise where no batch size trains for another reason than memory.

    Raises UnpredictableError where the training cannot be simulated, else WorkloadError.
    """
    failed = [probe for probe in found.probes if probe.outcome in ("error", "dataset")]
    if found.max_batch_size or not failed:
        return
    smallest = min(failed, key=lambda probe: probe.batch_size)
    what = describe_outcome(smallest)
    if smallest.values_read is not None:  # the detail names the line
        raise UnpredictableError(
            f"{what}, so it can only be measured",
            smallest.traceback or "",
            log=smallest.log,
        )
    if broken_library(smallest.detail or "") is not None:
        raise UnpredictableError(
            f"{what}: the simulated GPU does not offer that, so it can only be measured",
            smallest.traceback or "",
            log=smallest.log,
        )
    advice = advise_multiple(found.probes, found.max_batch_size)
    raise WorkloadError(
        f"no batch size trains: {what}" + (f"; {advice}" if advice else ""),
        smallest.traceback or "",
        log=smallest.log,
    )
