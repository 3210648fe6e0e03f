"""Asks for the probes of an LR range test: sweeps, and the learning rates of an optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from harness.measurement import LrCurve
from harness.probes.answers import GroupRates, StrategyReadings, Sweep, failed_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.lr_range.rate_map import RateMap
    from harness.probes.answers import Answer
    from harness.protocol.case import ObjectSpec
    from harness.protocol.lr import RatesResult, RatesTask, StrategyResult, StrategyTask, SweepTask
    from harness.protocol.messages import Failure

    Ask = Callable[..., Answer[Any]]
    """`ProbeRunner.ask`."""


class SweepOptions(TypedDict, total=False):
    """What may be asked of a sweep or a trial."""

    trial: bool
    """Whether all rates are the same one, and the loss may not exceed `ceiling`, if any."""
    whole: bool
    """Whether a sweep goes on to its end, or to a loss that is not finite."""
    ceiling: float | None
    whole_epochs: bool
    """Whether epochs end as the user's do, for a training that keeps memory until then."""
    seconds: float | None
    """The seconds after which it is out of time, which is no failure; None: no limit."""


def sweep(
    ask: Ask,
    batch_size: int,
    learning_rates: Sequence[float],
    seed: int,
    rate_map: RateMap | None,
    *,
    timeout: float,
    **options: Unpack[SweepOptions],
) -> Sweep:
    """Train a fresh module, one optimizer step per learning rate.

    rate_map: which groups follow the attribute, and the value to set; None: all groups are scaled.
    timeout: the seconds after which it has failed.

    Raises MachineError when the machine is at fault.
    """
    trial, seconds = options.get("trial", False), options.get("seconds")
    task: SweepTask = {
        "task": "lr_range",
        "batch_size": batch_size,
        "learning_rates": list(learning_rates),
        "seed": seed,
        "learning_rate": None if rate_map is None else rate_map.value,
        "fixed_groups": [] if rate_map is None else list(rate_map.fixed_groups),
        "trial": trial or options.get("whole", False),
        "ceiling": options.get("ceiling"),
        "whole_epochs": options.get("whole_epochs", False),
    }
    kind, at = ("trial", f"-{learning_rates[0]:.3g}") if trial else ("sweep", "")
    answer = ask(
        task,
        f"the LR {kind} with seed {seed} at batch {batch_size}",
        f"lr-{kind}-seed{seed}{at}",
        timeout if seconds is None else min(timeout, seconds),
    )
    result = answer.result
    if result is None and seconds is not None and seconds <= timeout and answer.timed_out:
        return Sweep(out_of_time=True)
    if result is None:
        return Sweep(failure=failed_probe(answer, answer.death, batch_size))
    if result["outcome"] != "fits":
        return Sweep(failure=failed_probe(answer, result, batch_size))
    if result["refusal"] is not None:
        return Sweep(refusal=result["refusal"])
    curve = LrCurve(
        seed, tuple(result["learning_rates"]), tuple(result["losses"]), len(learning_rates)
    )
    return Sweep(
        curve, raised=result["raised"] and f"{result['raised']} (its output is in {answer.log})"
    )


def group_rates(ask: Ask, batch_size: int, values: Sequence[float] = ()) -> GroupRates:
    """Read the learning rates that `configure_optimizers` gives each group of the optimizer.

    values: the values of the attribute that holds the learning rate; its own and twice that if
    there are none. Where a second call of `configure_optimizers` fails, only the first value has
    rates.

    Raises MachineError when the machine is at fault.
    """
    task: RatesTask = {"task": "rates", "batch_size": batch_size, "learning_rates": list(values)}
    answer: Answer[RatesResult | Failure] = ask(
        task, f"reading the learning rates at batch {batch_size}", "lr-groups"
    )
    result = answer.death or answer.result
    assert result is not None, "a probe answers or dies"
    if result["outcome"] != "fits":
        where = f" in {answer.phase}" if answer.phase else ""
        return GroupRates(
            None, failure=f"failed{where}: {result['detail']} (its output is in {answer.log})"
        )
    return GroupRates(
        result["attribute"],
        tuple(result["learning_rates"]),
        tuple(tuple(rates) for rates in result["rates"]),
    )


def read_sweeps(
    ask: Ask,
    strategy: ObjectSpec,
    learning_rates: Sequence[float],
    sweeps: Sequence[Sequence[float]],
) -> StrategyReadings:
    """Call a function of the user's with the rates and the losses of each sweep.

    Raises MachineError when the machine is at fault.
    """
    task: StrategyTask = {
        "task": "lr_strategy",
        "class_path": strategy["class_path"],
        "init_args": strategy["init_args"],
        "learning_rates": list(learning_rates),
        "losses_per_sweep": [list(losses) for losses in sweeps],
    }
    what = f"the LR strategy {strategy['class_path']}"
    answer: Answer[StrategyResult | Failure] = ask(task, what, "lr-strategy")
    result = answer.death or answer.result
    assert result is not None, "a probe answers or dies"
    if result["outcome"] != "fits":
        # What we say ourselves of the function needs no name of an exception.
        detail = result["detail"].removeprefix("HarnessError: ")
        return StrategyReadings(failure=f"{detail} (its output is in {answer.log})")
    return StrategyReadings(tuple(result["learning_rates"]))
