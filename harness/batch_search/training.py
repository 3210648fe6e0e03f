"""Searches for the largest training batch of an open case."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search.histories import recorded_histories
from harness.batch_search.sizes import (
    EPOCH_STEPS,
    EPOCH_VALIDATION_STEPS,
    FoundBatch,
    Sizes,
    search_batch_sizes,
)
from harness.case_names import label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from harness.batch_search.histories import Histories
    from harness.matrix.settings import SearchSettings
    from harness.measurement import Probe, ProbeKind
    from harness.probes.open_cases import OpenCase

SCOUTING_STEPS = 2
"""The steps of a scout: one makes gradients and the optimizer's state, the next has all of them.

Further steps add little memory. The search runs them at the batch sizes that it ends with.
"""

# Some smaller batches, then the largest by sum, by the longest side and by elements.
_WORST_BATCHES = 7


def train(
    opened: OpenCase,
    batch_size: int,
    *,
    steps: int | None = None,
    whole_epochs: bool = False,
    settle: bool = True,
    short_steps: bool = True,
    snapshot: Path | None = None,
    history: Path | None = None,
) -> Probe:
    """Probe a training batch with the case's settings; arguments as in `ProbeRunner.train`.

    whole_epochs: end epochs as the user's do, for a training that keeps memory until then.

    A batch that thrashes counts as out of memory unless the case allows thrashing.
    """
    settings, buckets = opened.case.search, opened.bucket_batches(batch_size)
    probe = opened.runner.train(
        batch_size,
        steps=num_steps(settings, steps),
        epoch_steps=EPOCH_STEPS if whole_epochs else 0,
        validation_steps=num_validation_steps(opened.validation_steps, whole_epochs=whole_epochs),
        settle=settle,
        snapshot=snapshot,
        history=history,
        # An epoch, and a soak, are to be what they are in training.
        short_steps=short_steps and not whole_epochs,
        buckets=buckets,
    )
    if buckets:
        sizes = {label(one["bucket"]["edge"]): one["batch_size"] for one in buckets}
        kind: ProbeKind = "joint" if opened.in_turn else "bucket"
        probe = replace(probe, kind=kind, buckets=sizes)
    if probe.outcome == "fits" and probe.alloc_retries and not settings.allow_thrashing:
        detail = (
            f"trains only because the allocator empties its cache ({probe.alloc_retries} retries)"
        )
        return replace(probe, outcome="oom", detail=detail)
    return probe


def search_training(
    opened: OpenCase,
    aim: int | None = None,
    histories: Histories | None = None,
    below: int | None = None,
    *,
    known: Sequence[Probe] = (),
) -> FoundBatch:
    """Search for the largest batch that trains.

    The search starts at the locked batch size, else at `aim`, the predicted one.

    histories: where the probes leave what they record; None: a folder of its own.
    below: a batch that is too large; the search starts next to it.
    known: probes of another search that fit below this limit, too.
    """
    settings = opened.case.search
    if histories is None:
        with recorded_histories(opened.runner, allow_thrashing=settings.allow_thrashing) as made:
            return search_training(opened, aim, made, below, known=known)
    sizes = _sizes(opened)
    locked = opened.locked.max_batch_size if opened.locked else None
    if below is not None:
        sizes, locked = replace(sizes, maximum=min(sizes.maximum, below - 1)), below - 1

    # Divisors are no primes, so that blocks of samples cannot be told from those of weights. There
    # are few divisors: the peaks lead to the answer.
    replayed = settings.global_batch_size is None

    def scout(batch_size: int) -> Probe:
        file = histories.file(batch_size) if replayed else None
        return train(opened, batch_size, steps=SCOUTING_STEPS, settle=False, history=file)

    def probe(batch_size: int, whole_epochs: bool) -> Probe:  # noqa: FBT001 - an `Attempt`
        # A replay of an epoch's history would keep as much at any batch size.
        file = histories.file(batch_size) if replayed and not whole_epochs else None
        return train(opened, batch_size, whole_epochs=whole_epochs, history=file)

    return search_batch_sizes(
        opened,
        replace(sizes, locked=locked, aim=aim),
        probe,
        scout if num_steps(settings, SCOUTING_STEPS) < settings.steps_per_trial else None,
        histories.estimator(opened.runner.memory_limit_bytes or 0) if replayed else None,
        known=known,
    )


def validate(
    opened: OpenCase,
    training_batch: int,
    batch_size: int,
    *,
    whole_epochs: bool,
    share: float = 1.0,
) -> Probe:
    """Probe a validation batch, after some steps with a training batch.

    share: the limit of validation, as a share of training's.
    """
    settings = opened.case.search
    return opened.runner.train(
        training_batch,
        steps=num_steps(settings),
        epoch_steps=EPOCH_STEPS if whole_epochs else 0,
        validation_steps=num_validation_steps(settings.validation_steps, whole_epochs=whole_epochs),
        validation_batch_size=batch_size,
        validation_share=share,
    )


def num_steps(settings: SearchSettings, steps: int | None = None) -> int:
    """Return the steps of a probe that is to have `steps`: one for each of the worst batches.

    steps: None: those of `search.steps_per_trial`.
    """
    wanted = settings.steps_per_trial if steps is None else steps
    return max(wanted, _WORST_BATCHES) if settings.worst_batches else wanted


def num_validation_steps(steps: int, *, whole_epochs: bool) -> int:
    """Return the validation batches of a probe that has `steps` of them otherwise."""
    return max(steps, EPOCH_VALIDATION_STEPS) if whole_epochs and steps else steps


def keeps_memory(probes: Iterable[Probe]) -> bool:
    """Return whether a training was searched by whole epochs, because its memory grows."""
    return any(probe.growth is not None for probe in probes)


def allowed_sizes(opened: OpenCase) -> tuple[int, int]:
    """Return the smallest and the largest batch size that settings and data allow."""
    allowed = _sizes(opened).allowed
    return allowed[0], allowed[-1]


def _sizes(opened: OpenCase) -> Sizes:
    settings = opened.case.search
    return Sizes(
        minimum=settings.min_batch_size,
        maximum=min(settings.max_batch_size, settings.global_batch_size or settings.max_batch_size),
        num_samples=opened.description.num_samples,
        locked=None,
        step=settings.round_to,
        total=settings.global_batch_size,
    )
