"""Adds to a measurement where the memory goes at the peak of its largest batch."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from harness.batch_search.training import SCOUTING_STEPS, num_steps
from harness.breakdown.shares import KERNEL
from harness.breakdown.table import make_table, smaller_batch
from harness.errors import WorkloadError
from harness.predict.holders import PeakHolders
from harness.progress.events import tell_phase

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")

# Batches on the CPU, and so peaks, move by so much from run to run.
_SAME_SHARE = 0.002


def with_memory(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add where the memory goes: what is locked if nothing has changed, else what a probe finds.

    The probe trains the largest batch, and in a fork of itself half of it, which shows what each
    sample takes. Of several ranks it is the one with the most memory. Where it does not train, or
    the modules are those of another program, nothing is added.
    """
    if opened.case.workload.get("command") is not None:
        return measurement
    if (locked := _kept(opened, measurement)) is not None:
        return replace(
            measurement, memory=locked.memory, memory_per_sample=locked.memory_per_sample
        )
    size, search = measurement.max_batch_size, opened.case.search
    smaller = smaller_batch(size, step=search.round_to, least=search.min_batch_size)
    file, other = (
        opened.runner.directory / f"memory-b{one}.json" for one in (size, f"{smaller}-smaller")
    )
    tell_phase(opened.case.id, "holders of memory")
    _log.info("%s: finding where the memory of batch %d goes", opened.case.id, size)
    hold = partial(
        opened.runner.holders,
        steps=num_steps(search, SCOUTING_STEPS),
        validation_steps=opened.validation_steps,
    )
    try:
        if smaller is None:
            hold(size, file=file)
        elif opened.case.num_ranks > 1:  # ranks that are forked would not meet
            hold(size, file=file)
            hold(smaller, file=other)
        else:
            hold(size, file=file, smaller={"batch_size": smaller, "file": str(other)})
    except WorkloadError as error:
        _log.info("%s: where the memory goes is not known: %s", opened.case.id, error)
        return measurement
    held, less = _read(file), _read(other)
    if held is None:
        return measurement
    here, there = held.by_name(), None if less is None else less.by_name()
    kernels = _kernels(here, measurement.peak_memory_bytes)
    if there is not None:
        there.pop(KERNEL, None)
    table = make_table(here, size, there, smaller or 0)
    return replace(
        measurement,
        memory=table.memory | kernels,
        memory_per_sample=table.per_sample,
        memory_lines=held.lines(),
    )


def _kernels(held: dict[str, int], peak_bytes: int | None) -> dict[str, int]:
    """Take compiled kernels out of the holders, and return what the peak leaves for them.

    Which ones a library compiles is its own choice, by shapes and by the room that there is. So
    nothing of them is of the samples, and without a limit there may be more.
    """
    kernels = held.pop(KERNEL, 0)
    if peak_bytes is not None:
        kernels = min(kernels, peak_bytes - sum(held.values()))
    return {KERNEL: kernels} if kernels > 0 else {}


def _kept(opened: OpenCase, measurement: Measurement) -> LockedProfile | None:
    """Return the lock whose table still holds; None where a probe has to find it anew."""
    locked = opened.locked
    if locked is None or opened.case.preset == "thorough" or not locked.memory_per_sample:
        return None
    if locked.source != "measured" or locked.emulated != measurement.emulated:
        return None
    if (locked.fingerprint, locked.recipe) != (measurement.fingerprint, measurement.recipe):
        return None
    if _versions(locked.made_with) != _versions(measurement.made_with):
        return None
    moved = abs(locked.max_batch_size - measurement.max_batch_size)
    if moved > max(1, _SAME_SHARE * locked.max_batch_size):
        return None
    return locked


def _versions(made_with: Mapping[str, str]) -> tuple[str | None, ...]:
    return tuple(made_with.get(name) for name in ("torch", "cuda"))


def _read(path: Path) -> PeakHolders | None:
    if not path.exists():
        return None
    holders = PeakHolders.read(path)
    path.unlink()
    return holders
