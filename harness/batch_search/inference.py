"""Searches for the largest batch of `trainer.validate`, `trainer.test` or `trainer.predict` alone.

The same search as for training, with the same limit: only the probes differ.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search.histories import recorded_histories
from harness.batch_search.sizes import EPOCH_VALIDATION_STEPS, Sizes, search_batch_sizes
from harness.probes.inference_probe import infer, samples_in_pass
from harness.probes.outcomes import describe_outcome, warn_of_growth

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.measurement import Probe
    from harness.probes.open_cases import OpenCase
    from harness.protocol.case import InferenceFunction

_log = logging.getLogger("harness")


def search_inference(opened: OpenCase, function: InferenceFunction) -> FoundBatch:
    """Search for the largest batch of one function; the locked one says where to start.

    Raises WorkloadError where the workload has no loader or no step for it.
    """
    settings, locked, runner = opened.case.search, opened.locked, opened.runner
    _log.info("%s: searching the largest batch of trainer.%s", opened.case.id, function)
    sizes = Sizes(
        minimum=settings.validation_minimum,
        maximum=settings.validation_maximum,
        num_samples=samples_in_pass(runner, function),
        phase=f"search for {function}",
        locked=locked.inference_batch_sizes.get(function) if locked else None,
    )
    with recorded_histories(runner, allow_thrashing=settings.allow_thrashing) as histories:

        def probe(batch_size: int, whole_pass: bool) -> Probe:  # noqa: FBT001 - an `Attempt`
            steps = settings.validation_steps
            return _judged(
                opened,
                infer(
                    runner,
                    function,
                    batch_size,
                    batches=max(steps, EPOCH_VALIDATION_STEPS) if whole_pass else steps,
                    whole_pass=whole_pass,
                    history=None if whole_pass else histories.file(batch_size),
                ),
            )

        estimator = histories.estimator(runner.memory_limit_bytes or 0)
        return search_batch_sizes(opened, sizes, probe, estimator=estimator)


def warnings_of(function: InferenceFunction, found: FoundBatch) -> tuple[str, ...]:
    """Return what readers should know of a search: that nothing fits, or that memory grows."""
    if not found.max_batch_size:
        smallest = min(found.probes, key=lambda probe: probe.batch_size)
        return (f"no batch size of {function} was found: {describe_outcome(smallest)}",)
    grows = None if found.best is None else warn_of_growth(found.best)
    return () if grows is None else (f"{function}: {grows}",)


def _judged(opened: OpenCase, probe: Probe) -> Probe:
    """Return a probe that thrashes as out of memory, unless the case allows that."""
    if probe.outcome == "fits" and probe.alloc_retries and not opened.case.search.allow_thrashing:
        detail = (
            f"runs only because the allocator empties its cache ({probe.alloc_retries} retries)"
        )
        return replace(probe, outcome="oom", detail=detail)
    return probe
