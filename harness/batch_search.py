"""The two searches of a case: for the training batch, and for the validation batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.progress import log_probe
from harness.search import SearchResult, search

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lockfile import LockedProfile
    from harness.matrix import Case
    from harness.measurement import Measurement, Probe
    from harness.probe import Description, ProbeRunner

# A step that makes gradients and the optimizer's state, and one that has them all. What further ones add is little, and
# the sizes that the search ends on run them.
SCOUTING_STEPS = 2


def train(case: Case, runner: ProbeRunner, description: Description, batch_size: int, **more: Any) -> Probe:
    """Probe a training batch as the case's settings have it."""
    settings = case.search
    validation_steps = 1 if settings.validation is True and description.validation else 0
    arguments = {"steps": settings.steps_per_trial, "validation_steps": validation_steps} | more
    done = runner.train(batch_size, **arguments)
    if done.outcome == "fits" and done.alloc_retries and not settings.allow_thrashing:
        detail = f"trains only because the allocator empties its cache ({done.alloc_retries} retries)"
        return replace(done, outcome="oom", detail=detail)
    return done


def search_training(
    case: Case,
    runner: ProbeRunner,
    description: Description,
    locked: LockedProfile | None,
    aim: int | None = None,
) -> tuple[SearchResult[Probe], str]:
    """Search for the largest batch that trains, from the locked one or else a predicted one on; return what bounds it."""

    def scout(batch_size: int) -> Probe:
        return train(case, runner, description, batch_size, steps=SCOUTING_STEPS, settle=False)

    return _search(
        case,
        runner,
        lambda batch_size: train(case, runner, description, batch_size),
        scout if case.search.steps_per_trial > SCOUTING_STEPS else None,
        minimum=case.search.min_batch_size,
        maximum=case.search.max_batch_size,
        num_samples=description.num_samples,
        locked=locked.max_batch_size if locked else None,
        aim=aim,
    )


def with_validation(
    case: Case,
    runner: ProbeRunner,
    description: Description,
    measurement: Measurement,
    locked: LockedProfile | None,
) -> Measurement:
    """Add the validation batch size: searched for, or the training batch that was run with it."""
    settings = case.search
    if not description.validation or settings.validation is False:
        return measurement
    if settings.validation is True:
        return replace(measurement, validation_batch_size=measurement.batch_size)
    share = settings.validation_fraction / settings.target_memory_fraction

    def probe(batch_size: int) -> Probe:
        return runner.train(
            measurement.batch_size,
            steps=settings.steps_per_trial,
            validation_steps=settings.validation_steps,
            validation_batch_size=batch_size,
            validation_share=share,
        )

    result, bounded_by = _search(
        case,
        runner,
        probe,
        None,
        minimum=settings.validation_minimum,
        maximum=settings.validation_maximum,
        num_samples=description.num_validation_samples,
        locked=locked.validation_batch_size if locked else None,
        share=share,
    )
    warnings = measurement.warnings
    if not result.max_batch_size:
        smallest = min((probe for _, probe in result.trials), key=lambda probe: probe.batch_size)
        warnings += (
            f"no validation batch size was found ({bounded_by}): batch {smallest.batch_size}: {smallest.detail}",
        )
    return replace(
        measurement,
        warnings=warnings,
        validation_batch_size=result.max_batch_size or None,
        probes=measurement.probes + tuple(probe for _, probe in result.trials),
    )


def _search(
    case: Case,
    runner: ProbeRunner,
    probe: Callable[[int], Probe],
    scout: Callable[[int], Probe] | None,
    *,
    minimum: int,
    maximum: int,
    num_samples: int | None,
    locked: int | None,
    aim: int | None = None,
    share: float = 1.0,
) -> tuple[SearchResult[Probe], str]:
    """Search, never beyond the data set: a batch of more samples than there are is no batch.

    `share` is the part of training's limit that holds for what is searched.
    """
    whole = runner.memory_limit_bytes
    limit = None if whole is None else int(share * whole)

    def logged(probe: Callable[[int], Probe]) -> Callable[[int], Probe]:
        def run(batch_size: int) -> Probe:
            done = probe(batch_size)
            log_probe(case.id, done, limit)
            return done

        return run

    cap = maximum
    if num_samples is not None:
        cap = max(minimum, min(maximum, num_samples))
    settings = case.search
    result = search(
        logged(probe),
        scout=None if scout is None else logged(scout),
        mode=settings.mode,
        memory_limit_bytes=limit,
        min_batch_size=minimum,
        max_batch_size=cap,
        init_val=settings.init_val,
        max_trials=settings.max_trials,
        locked=locked,
        aim=aim,
    )
    bounded_by = "dataset" if result.bounded_by == "cap" and cap < maximum else result.bounded_by
    return result, bounded_by
