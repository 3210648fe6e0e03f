"""Judges the strategies that a matrix can name, in each of their stages, by the same oracles."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING, Any, Protocol

from tabulate import tabulate

from harness.lr_range.find import LearningRateSearch, Limits
from harness.lr_range.strategies import PUBLISHED
from harness.lr_range.strategy_search import DROP, StrategySearch, strategy_of
from harness.lr_range.suggestion import geometric_sweep
from harness.matrix.settings import LrRangeSettings
from learning_rates.oracles import Oracle, oracle_of
from learning_rates.recorded import HORIZON, MAX_STEPS, FinalLosses, rates_of, runs_of
from learning_rates.recorder import LR_MAX, LR_MIN, Recorder, Replayed
from learning_rates.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Regrets = Mapping[str, float | None]
    """By training or configuration; None where it is refused."""

_SETTINGS = LrRangeSettings()
NAMES = (DROP, *PUBLISHED)
STAGES = (1, 2, 3)
_SWEEP = "C"


class _Trainings(Protocol):
    def sweep(self, seed: int, learning_rates: Sequence[float]) -> Sequence[float]: ...

    def whole_sweep(self, seed: int, learning_rates: Sequence[float]) -> Sequence[float]: ...

    def trial(
        self, seed: int, learning_rate: float, num_steps: int, ceiling: float | None
    ) -> Sequence[float]: ...


@dataclass(frozen=True)
class _Swept:
    """Recorded sweeps of several seeds, and trials from the final losses of one other."""

    trials: FinalLosses
    sweeps: Sequence[Sequence[float | None]]

    def sweep(self, seed: int, learning_rates: Sequence[float]) -> Sequence[float]:
        return self.trials.sweep(seed, learning_rates)

    def whole_sweep(self, seed: int, _learning_rates: Sequence[float]) -> Sequence[float]:
        return [math.nan if loss is None else loss for loss in self.sweeps[seed]]

    def trial(
        self, seed: int, learning_rate: float, num_steps: int, ceiling: float | None
    ) -> Sequence[float]:
        return self.trials.trial(seed, learning_rate, num_steps, ceiling)


def judge_strategies(folder: Path, configurations: Mapping[str, Any]) -> dict[str, Any]:
    """Return, for each strategy and stage, its regrets on three sets of trainings, summed up."""
    trained: dict[str, dict[int, dict[str, float | None]]] = {}
    for name, task in TASKS.items():
        recorder = Recorder(name, task, folder)
        oracle = oracle_of(task, recorder)
        for strategy, stage in itertools.product(NAMES, STAGES):
            regrets = trained.setdefault(strategy, {}).setdefault(stage, {})
            limits = Limits(LR_MIN, LR_MAX, _SETTINGS.horizon, 3 * _SETTINGS.num_training)
            rates = geometric_sweep(LR_MIN, LR_MAX, _SETTINGS.num_training)
            rate = _found(strategy, stage, Replayed(recorder), limits, rates)
            regrets[name] = None if rate is None else oracle.regret(rate)
    return {
        strategy: {
            str(stage): {
                "recorded": _summary(
                    {name: _cross(one, strategy, stage) for name, one in configurations.items()}
                ),
                "fine-tuning": _summary(
                    {name: one for name, one in regrets.items() if TASKS[name].fine_tuned}
                ),
                "trainings": _summary(regrets),
            }
            for stage, regrets in stages.items()
        }
        for strategy, stages in trained.items()
    }


def strategies_table(judged: Mapping[str, Any]) -> str:
    """Return the table of what `judge_strategies` gives."""
    rows = [
        (
            strategy,
            stage,
            *itertools.chain.from_iterable(
                (f"{one['given']} of {one['of']}", one["median"], one["p90"])
                for one in sets.values()
            ),
        )
        for strategy, stages in judged.items()
        for stage, sets in stages.items()
    ]
    headers = ["strategy", "stages"]
    for name in ("recorded", "fine-tuning", "trainings"):
        headers += [f"{name}: a rate", "median", "p90"]
    return tabulate(rows, headers, tablefmt="github")


def _found(
    strategy: str,
    stage: int,
    trainings: _Trainings,
    limits: Limits,
    learning_rates: tuple[float, ...],
) -> float | None:
    """Return the rate that a range test finds with the default seeds."""
    seeds = _SETTINGS.seeds if stage == STAGES[-1] else _SETTINGS.seeds[:1]
    trials = LearningRateSearch(trainings, limits)
    if strategy == DROP and stage > 1:
        found = trials.run(seeds).found
    else:
        search = StrategySearch(
            trainings, learning_rates, [strategy_of(strategy)], trials if stage > 1 else None
        )
        found = search.run(seeds).found
    return None if found is None else found.learning_rate


def _cross(configuration: Mapping[str, Any], strategy: str, stage: int) -> float | None:
    """Return the mean regret where each seed of the oracle has the trials and the other judges."""
    recorded = configuration["sweeps"][_SWEEP]
    regrets = []
    seeds = sorted({run["seed"] for run in configuration["oracle_constant_lr"]})
    for proposing, judging in itertools.permutations(seeds):
        runs = runs_of(configuration, proposing)
        ends = [run.learning_rate for run in runs]
        trainings = _Swept(FinalLosses(runs, recorded), recorded["losses_per_seed"])
        limits = Limits(min(ends), max(ends), HORIZON, MAX_STEPS)
        rate = _found(strategy, stage, trainings, limits, rates_of(recorded))
        if rate is None:
            return None
        regrets.append(Oracle(runs_of(configuration, judging)).regret(rate))
    return fmean(regrets)


def _summary(regrets: Regrets) -> dict[str, float | None]:
    """Return how many have a rate, and the median and the 90th percentile of their regrets."""
    given = [regret for regret in regrets.values() if regret is not None]
    figures = {"median": median(given), "worst": max(given)} if given else {}
    if len(given) > 1:
        figures["p90"] = quantiles(given, n=10, method="inclusive")[-1]
    rounded = {name: round(value, 4) for name, value in figures.items()}
    return {"given": len(given), "of": len(regrets), "median": None, "p90": None} | rounded
