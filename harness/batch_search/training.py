"""Searches for the largest training batch of an open case."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.batch_search.histories import recorded_histories
from harness.batch_search.multiples import probe_multiples
from harness.probes.outcomes import describe_probe
from harness.search.search import SearchResult, multiples, search

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.batch_search.histories import Histories
    from harness.measurement import BoundedBy, Probe
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


def search_training(
    opened: OpenCase, aim: int | None = None, histories: Histories | None = None
) -> FoundBatch:
    """Search for the largest batch that trains.

    The search starts at the locked batch size, else at `aim`, the predicted one.

    histories: where the probes leave what they record; None: a folder of its own.
    """
    settings, locked = opened.case.search, opened.locked
    if histories is None:
        with recorded_histories(opened.runner, allow_thrashing=settings.allow_thrashing) as made:
            return search_training(opened, aim, made)

    def scout(batch_size: int) -> Probe:
        file = histories.file(batch_size)
        return train(opened, batch_size, steps=SCOUTING_STEPS, settle=False, history=file)

    return search_batch_sizes(
        opened,
        lambda batch_size: train(opened, batch_size, history=histories.file(batch_size)),
        scout if settings.steps_per_trial > SCOUTING_STEPS else None,
        minimum=settings.min_batch_size,
        maximum=settings.max_batch_size,
        num_samples=opened.description.num_samples,
        locked=locked.max_batch_size if locked else None,
        aim=aim,
        estimator=histories.estimator(opened.runner.memory_limit_bytes or 0),
        step=settings.round_to,
    )


def allowed_sizes(opened: OpenCase) -> tuple[int, int]:
    """Return the smallest and the largest batch size that settings and data allow."""
    settings = opened.case.search
    smallest, step = settings.min_batch_size, settings.round_to
    cap = _cap(smallest, settings.max_batch_size, opened.description.num_samples)
    first, last = multiples(smallest, cap, step)
    return (smallest, cap) if first > last else (first * step, last * step)


def _cap(minimum: int, maximum: int, num_samples: int | None) -> int:
    return maximum if num_samples is None else max(minimum, min(maximum, num_samples))


def search_batch_sizes(
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
    step: int = 1,
) -> FoundBatch:
    """Search for the largest batch that fits, never beyond the number of samples.

    share: the limit of the phase that is searched, as a share of training's.
    step: the search tries multiples of it. If there are none, or if not even the first has the
        memory, it tries what is smaller: a small batch is better than none.
    """
    settings, whole = opened.case.search, opened.runner.memory_limit_bytes
    limit = None if whole is None else int(share * whole)

    def logged(try_batch: TryBatch) -> TryBatch:
        def run(batch_size: int) -> Probe:
            done = try_batch(batch_size)
            _log.info("%s: %s", opened.case.id, describe_probe(done, limit))
            return done

        return run

    def search_to(largest: int, step: int, max_trials: int) -> SearchResult[Probe]:
        return search(
            logged(probe),
            scout=None if scout is None else logged(scout),
            mode=settings.mode,
            memory_limit_bytes=limit,
            min_batch_size=minimum,
            max_batch_size=largest,
            init_val=settings.init_val,
            max_trials=max_trials,
            locked=locked,
            aim=aim,
            estimator=estimator,
            step=step,
        )

    cap = _cap(minimum, maximum, num_samples)
    first, last = multiples(minimum, cap, step)
    result = search_to(cap, 1 if first > last else step, settings.max_trials)
    probes = [done for _, done in result.probes]
    left = settings.max_trials - len(probes)
    if result.bounded_by == "nothing fits" and minimum < first * step <= cap and left:
        result = search_to(first * step - 1, 1, left)
        probes += [done for _, done in result.probes]
        if result.bounded_by == "cap":
            result = replace(result, bounded_by="memory")  # the first multiple has failed
    if not result.max_batch_size and probes and all(map(_raised, probes)):
        failed = {done.batch_size for done in probes}
        probes += probe_multiples(logged(probe), failed, cap)
    by_data = result.bounded_by == "cap" and cap < maximum
    return FoundBatch(
        max_batch_size=result.max_batch_size,
        bounded_by="dataset" if by_data else result.bounded_by,
        probes=tuple(probes),
        non_monotone=result.non_monotone,
    )


def _raised(probe: Probe) -> bool:
    """Return whether a probe ended in the workload's own exception: no crash, and no time-out."""
    return probe.outcome == "error" and probe.traceback is not None
