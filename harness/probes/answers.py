"""The answers of probes in pytest's process, and the `Probe` of one that failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from harness.errors import MachineError, NotOfferedError
from harness.measurement import Growth, LrCurve, Probe
from harness.probes.dead_processes import explain_death, killed_for_memory

if TYPE_CHECKING:
    from harness.measurement import Outcome, ProbeKind
    from harness.probes.dead_processes import Ending
    from harness.protocol.messages import Failure, Phase, TrainResult

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Sweep:
    """The result of one sweep of the learning rate: a curve, a refusal or a failure."""

    curve: LrCurve | None = None
    refusal: str | None = None
    failure: Probe | None = None
    raised: str | None = None
    """The exception that ended the curve: the rate may be too high for the workload."""
    out_of_time: bool = False
    """Whether the seconds that it was given were too few."""


@dataclass(frozen=True)
class GroupRates:
    """The learning rates that values of the workload's attribute give the optimizer's groups."""

    attribute: str | None
    """Where the value was set, such as `Net.lr`; None: no attribute holds the learning rate."""
    values: tuple[float, ...] = ()
    rates: tuple[tuple[float, ...], ...] = ()
    """For each value, the rate of every group."""
    failure: str | None = None
    """Why the rates could not be read."""


@dataclass(frozen=True)
class StrategyReadings:
    """What a function of the user's reads off sweeps."""

    rates: tuple[float | None, ...] = ()
    """For each sweep a learning rate; None: it refuses."""
    failure: str | None = None
    """Why it gave none."""


@dataclass(frozen=True)
class Answer(Generic[ResultT]):
    """The end of one probe: its result, or the failure that it died of."""

    result: ResultT | None
    death: Failure | None
    phase: Phase | None
    log: str
    seconds: float
    timed_out: bool = False


def read_ending(
    ending: Ending, what: str, log: str, seconds: float, kills: int | None
) -> Answer[Any]:
    """Return the answer of a probe that has ended.

    what: the probe in words, for errors.
    kills: the result of `oom_kills.count` before it.

    Raises MachineError when the machine is at fault, and NotOfferedError when the workload does not
    offer a change of its spec.
    """
    death = explain_death(ending, log) if ending.result is None else None
    if death is not None and ending.rank is not None:
        death["rank"] = ending.rank
    told = death or ending.result
    assert told is not None, "a probe answers or dies"
    trouble = told["detail"] if told["outcome"] == "machine" else killed_for_memory(ending, kills)
    if trouble is not None:
        where = f" in {ending.phase}" if ending.phase else ""
        where += "" if ending.rank is None else f" on rank {ending.rank}"
        raise MachineError(f"{what} failed{where}: {trouble} (its output is in {log})")
    if told["outcome"] == "not offered":
        raise NotOfferedError(told["detail"] or "", log=log)
    late = ending.timed_out is not None
    return Answer(ending.result, death, ending.phase, log, seconds, late)


def trained_probe(
    answer: Answer[Any], result: TrainResult, batch_size: int, kind: ProbeKind
) -> Probe:
    """Return the probe of a batch size that was tried, whether it fits or not."""
    outcome, growth = outcome_of(result), result["growth"]
    return Probe(
        batch_size=batch_size,
        outcome=outcome,
        phase=None if outcome == "fits" or result["above_limit"] else answer.phase,
        peak_memory_bytes=result["peak_memory_bytes"],
        seconds=answer.seconds,
        kind=kind,
        peak_allocated_bytes=result.get("peak_allocated_bytes"),
        non_torch_bytes=result.get("non_torch_bytes"),
        alloc_retries=result.get("alloc_retries"),
        finite_loss=result["finite_loss"],
        growing=result["growing"],
        growth=None if growth is None else Growth(**growth),
        samples=result["samples"],
        steps=result["steps"],
        samples_per_second=result["samples_per_second"],
        detail=result["detail"],
        traceback=result["traceback"],
        log=answer.log,
        notes=tuple(result["notes"]),
        values_read=result["values_read"],
        rank=result["rank"],
    )


def failed_probe(
    answer: Answer[Any], failure: Failure | None, batch_size: int, kind: ProbeKind = "train"
) -> Probe:
    """Return the probe of a batch size that failed."""
    assert failure is not None, "a probe answers or dies"
    return Probe(
        batch_size=batch_size,
        outcome=outcome_of(failure),
        phase=answer.phase,
        seconds=answer.seconds,
        kind=kind,
        detail=failure["detail"],
        traceback=failure["traceback"],
        log=answer.log,
        rank=failure.get("rank"),
    )


def outcome_of(result: TrainResult | Failure) -> Outcome:
    """Return how training or a sweep ended; `ask` raises for what a probe cannot answer."""
    outcome = result["outcome"]
    assert outcome != "machine", "ask has raised for it"
    assert outcome != "not offered", "ask has raised for it"
    return outcome
