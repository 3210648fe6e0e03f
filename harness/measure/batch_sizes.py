"""Searches for a case's largest training batch and its largest validation batch."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.measure.histories import recorded_histories
from harness.probes.outcomes import describe_probe
from harness.search.search import SearchResult, search

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.measurement import BoundedBy, Measurement, Probe
    from harness.probes.open_cases import OpenCase
    from harness.search.estimates import Estimator

    TryBatch = Callable[[int], Probe]

_log = logging.getLogger("harness")

SCOUTING_STEPS = 2
"""The steps of a scout: one makes gradients and the optimizer's state, the next has all of them.

Further steps add little memory. The search runs them at the batch sizes that it ends with.
"""


@dataclass(frozen=True)
class FoundBatch:
    """The result of one search."""

    max_batch_size: int
    """0 when nothing fits."""
    bounded_by: BoundedBy
    probes: tuple[Probe, ...]
    """In the order in which they ran."""
    non_monotone: int | None
    """A larger batch that also fits, though a smaller one fails; None if none is known."""

    @property
    def best(self) -> Probe | None:
        """The last probe of the largest batch; it is never a scout. None when nothing fits."""
        tried = [probe for probe in self.probes if probe.batch_size == self.max_batch_size]
        return tried[-1] if tried else None


def train(
    opened: OpenCase,
    batch_size: int,
    *,
    steps: int | None = None,
    settle: bool = True,
    snapshot: Path | None = None,
    history: Path | None = None,
) -> Probe:
    """Probe a training batch with the case's settings; arguments as in `ProbeRunner.train`.

    A batch that thrashes counts as out of memory unless the case allows thrashing.
    """
    settings = opened.case.search
    probe = opened.runner.train(
        batch_size,
        steps=settings.steps_per_trial if steps is None else steps,
        validation_steps=opened.validation_steps,
        settle=settle,
        snapshot=snapshot,
        history=history,
    )
    if probe.outcome == "fits" and probe.alloc_retries and not settings.allow_thrashing:
        detail = (
            f"trains only because the allocator empties its cache ({probe.alloc_retries} retries)"
        )
        return replace(probe, outcome="oom", detail=detail)
    return probe


def search_training(opened: OpenCase, aim: int | None = None) -> FoundBatch:
    """Search for the largest batch that trains.

    The search starts at the locked batch size, else at `aim`, the predicted one.
    """
    settings, locked = opened.case.search, opened.locked
    with recorded_histories(opened.runner, allow_thrashing=settings.allow_thrashing) as histories:

        def scout(batch_size: int) -> Probe:
            file = histories.file(batch_size)
            return train(opened, batch_size, steps=SCOUTING_STEPS, settle=False, history=file)

        return _search(
            opened,
            lambda batch_size: train(opened, batch_size, history=histories.file(batch_size)),
            scout if settings.steps_per_trial > SCOUTING_STEPS else None,
            minimum=settings.min_batch_size,
            maximum=settings.max_batch_size,
            num_samples=opened.description.num_samples,
            locked=locked.max_batch_size if locked else None,
            aim=aim,
            estimator=histories.estimator,
        )


def with_validation(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add the validation batch size: the result of its own search, or the tuned training batch."""
    settings, locked = opened.case.search, opened.locked
    if not opened.description.validation or settings.validation is False:
        return measurement
    if settings.validation is True:
        return replace(measurement, validation_batch_size=measurement.batch_size)
    share = settings.validation_fraction / settings.target_memory_fraction

    def probe(batch_size: int) -> Probe:
        return opened.runner.train(
            measurement.batch_size,
            steps=settings.steps_per_trial,
            validation_steps=settings.validation_steps,
            validation_batch_size=batch_size,
            validation_share=share,
        )

    found = _search(
        opened,
        probe,
        None,
        minimum=settings.validation_minimum,
        maximum=settings.validation_maximum,
        num_samples=opened.description.num_validation_samples,
        locked=locked.validation_batch_size if locked else None,
        share=share,
    )
    warnings = measurement.warnings
    if not found.max_batch_size:
        smallest = min(found.probes, key=lambda probe: probe.batch_size)
        tried = f"batch {smallest.batch_size}: {smallest.detail}"
        warnings += (f"no validation batch size was found ({found.bounded_by}): {tried}",)
    return replace(
        measurement,
        warnings=warnings,
        validation_batch_size=found.max_batch_size or None,
        probes=measurement.probes + found.probes,
    )


def _search(
    opened: OpenCase,
    probe: TryBatch,
    scout: TryBatch | None,
    *,
    minimum: int,
    maximum: int,
    num_samples: int | None,
    locked: int | None,
    aim: int | None = None,
    estimator: Estimator | None = None,
    share: float = 1.0,
) -> FoundBatch:
    """Search for the largest batch that fits, never beyond the number of samples.

    share: the limit of the phase that is searched, as a share of training's.
    """
    settings, whole = opened.case.search, opened.runner.memory_limit_bytes
    limit = None if whole is None else int(share * whole)

    def logged(try_batch: TryBatch) -> TryBatch:
        def run(batch_size: int) -> Probe:
            done = try_batch(batch_size)
            _log.info("%s: %s", opened.case.id, describe_probe(done, limit))
            return done

        return run

    cap = maximum
    if num_samples is not None:
        cap = max(minimum, min(maximum, num_samples))
    result: SearchResult[Probe] = search(
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
        estimator=estimator,
    )
    by_data = result.bounded_by == "cap" and cap < maximum
    return FoundBatch(
        max_batch_size=result.max_batch_size,
        bounded_by="dataset" if by_data else result.bounded_by,
        probes=tuple(done for _, done in result.probes),
        non_monotone=result.non_monotone,
    )
