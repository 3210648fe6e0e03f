"""Searches for the largest batch at several shares of the memory, in training and in validation.

The searches share what they measure. They go from the largest share down: what fitted there in less
memory than a smaller share allows fits there, too, and the peaks tell where to look. On CUDA the
allocations that probes have recorded are replayed below the smaller limit. Each answer rests on
probes below its own limit all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from harness.batch_search.sizes import Sizes, search_batch_sizes
from harness.batch_search.training import allowed_sizes, keeps_memory, search_training, validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.batch_search.histories import Histories
    from harness.batch_search.sizes import FoundBatch
    from harness.measurement import Probe
    from harness.probes.open_cases import OpenCase
    from harness.protocol.case import BoundSpec

CurveMode = Literal["train", "val"]
MODES: tuple[CurveMode, ...] = get_args(CurveMode)


@dataclass(frozen=True)
class CurvePoint:
    """The largest batch at one share of the memory."""

    mode: CurveMode
    fraction: float
    memory_limit_bytes: int
    found: FoundBatch


def search_curve(
    opened: OpenCase, histories: Histories, fractions: Iterable[float], modes: Iterable[CurveMode]
) -> Iterator[CurvePoint]:
    """Yield the largest batch for each mode and fraction, as soon as it is found.

    The fractions come from the largest to the smallest. They are shares of the budget on the CPU,
    and of the memory on a GPU.
    """
    runner = opened.runner
    own, limit = runner.device.bound, runner.memory_limit_bytes or 0
    whole = limit if own["accelerator"] == "cpu" else limit / own["fraction"]
    try:
        for mode in modes:
            probes: tuple[Probe, ...] = ()
            for fraction in sorted(fractions, reverse=True):
                runner.bound = _bound_at(own, fraction)
                # Until a probe tells it to the byte.
                runner.memory_limit_bytes = int(fraction * whole)
                search = _training if mode == "train" else _validation
                found = search(opened, histories, probes)
                probes += found.probes
                yield CurvePoint(mode, fraction, runner.memory_limit_bytes, found)
    finally:
        runner.bound, runner.memory_limit_bytes = None, limit


def _bound_at(bound: BoundSpec, fraction: float) -> BoundSpec:
    if bound["accelerator"] == "cpu":
        return {"accelerator": "cpu", "budget_bytes": int(fraction * bound["budget_bytes"])}
    return {**bound, "fraction": fraction}


def _training(opened: OpenCase, histories: Histories, before: Sequence[Probe]) -> FoundBatch:
    limit = opened.runner.memory_limit_bytes or 0
    aim = None
    if before:
        aim = histories.largest_kept(limit, allowed_sizes(opened)[1]) or _aim(before, limit)
    return search_training(opened, aim, histories, known=_fitting(before, limit))


def _validation(opened: OpenCase, histories: Histories, before: Sequence[Probe]) -> FoundBatch:
    """Search for the validation batch, with all of training's state alive.

    The training batch is the smallest one, so that its own peak hides none of validation's.
    """
    del histories  # nothing records what validation allocates
    settings, limit = opened.case.search, opened.runner.memory_limit_bytes or 0
    smallest = allowed_sizes(opened)[0]

    def probe(batch_size: int, whole_epochs: bool) -> Probe:  # noqa: FBT001 - an `Attempt`
        return validate(opened, smallest, batch_size, whole_epochs=whole_epochs)

    sizes = Sizes(
        minimum=settings.validation_minimum,
        maximum=settings.validation_maximum,
        num_samples=opened.description.num_validation_samples,
        locked=None,
        aim=_aim(before, limit),
        phase="search for validation",
    )
    return search_batch_sizes(opened, sizes, probe, known=_fitting(before, limit))


def _fitting(before: Sequence[Probe], limit: int) -> list[Probe]:
    """Return the probes below larger limits that fit below this one, too.

    None where memory grows from step to step: probes of whole epochs are no scouts.
    """
    if keeps_memory(before):
        return []
    return [probe for probe in before if _peak(probe) is not None and (_peak(probe) or 0) <= limit]


def _aim(before: Sequence[Probe], limit: int) -> int | None:
    """Return the size at which the line between two measured peaks meets a limit; None if none.

    These are the nearest peaks below and above the limit.
    """
    peaks = sorted(
        (peak, probe.batch_size) for probe in before if (peak := _peak(probe)) is not None
    )
    below = [one for one in peaks if one[0] <= limit]
    above = [one for one in peaks if one[0] > limit]
    if not below:
        return None
    if not above:
        return below[-1][1]
    (low_peak, low), (high_peak, high) = below[-1], above[0]
    return int(low + (high - low) * (limit - low_peak) / (high_peak - low_peak))


def _peak(probe: Probe) -> int | None:
    return probe.peak_memory_bytes if probe.outcome == "fits" else None
