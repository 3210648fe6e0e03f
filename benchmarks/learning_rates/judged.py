"""Judges the range test, and other finders' rules, on one of the small trainings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from harness.lr_range.find import LearningRateSearch, Limits
from harness.lr_range.suggestion import geometric_sweep
from harness.matrix.settings import LrRangeSettings
from learning_rates.oracles import oracle_of
from learning_rates.peers import PEERS, drop_rule, over_seeds
from learning_rates.recorder import LR_MAX, LR_MIN, Recorder, Replayed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.lr_range.found import Result
    from learning_rates.oracles import Oracle
    from learning_rates.tasks import Task

_SETTINGS = LrRangeSettings()
_NUM_SEEDS = len(_SETTINGS.seeds)
_ALL_SEEDS = range(6)
_PEERS_STEPS = 200
BUDGETS = (100, 200, 400, 800)


@dataclass(frozen=True)
class Rated:
    """A learning rate, and what the oracle says of it."""

    learning_rate: float | None
    regret: float | None

    @classmethod
    def of(cls, rate: float | None, oracle: Oracle) -> Rated:
        """Ask the oracle."""
        if rate is None:
            return cls(None, None)
        return cls(float(f"{rate:.4g}"), round(oracle.regret(rate), 4))


@dataclass(frozen=True)
class Judged:
    """What the range test, and its peers, say of one task."""

    best: float
    """The best rate of the oracle."""
    own: Rated
    """With the default seeds; the other numbers are over all choices of 3 of 6 seeds."""
    range: tuple[float, float] | None
    horizon: int
    median_regret: float | None
    spread: float | None
    """The largest suggestion over the smallest."""
    refused: int
    choices: int
    refusal: str | None
    steps: float
    seeds: float
    rate_by_budget: dict[int, float | None]
    """The suggestion for each `num_training`; None where the range test refuses."""
    by_budget: float | None
    """The largest of these over the smallest; None where fewer than two are given."""
    sweeps_by_budget: float | None
    """The same of the 75% point of sweeps that have so many steps."""
    peers: dict[str, Rated]


def judge(name: str, task: Task, folder: Path) -> tuple[Judged, Oracle]:
    """Replay the rules on a task; what is not recorded in `folder` is trained."""
    recorder = Recorder(name, task, folder)
    oracle = oracle_of(task, recorder)
    own = _found(recorder, _SETTINGS.seeds)
    results = [_found(recorder, seeds) for seeds in itertools.combinations(_ALL_SEEDS, _NUM_SEEDS)]
    rates = [one.found.learning_rate for one in results if one.found is not None]
    by_budget: dict[int, float | None] = {}
    for budget in BUDGETS:
        given = _found(recorder, _SETTINGS.seeds, budget).found
        by_budget[budget] = None if given is None else float(f"{given.learning_rate:.4g}")
    sweeps = {
        budget: [recorder.sweep(seed, budget) for seed in _SETTINGS.seeds] for budget in BUDGETS
    }
    swept = [
        drop_rule(geometric_sweep(LR_MIN, LR_MAX, budget), losses)
        for budget, losses in sweeps.items()
    ]
    peer_rates = geometric_sweep(LR_MIN, LR_MAX, _PEERS_STEPS)
    peers = {
        peer: Rated.of(over_seeds(rule, peer_rates, sweeps[_PEERS_STEPS]), oracle)
        for peer, rule in PEERS.items()
    }
    found = own.found
    judged = Judged(
        best=oracle.best,
        own=Rated.of(found.learning_rate if found is not None else None, oracle),
        range=(found.lowest, found.highest) if found is not None else None,
        horizon=own.horizon,
        median_regret=round(median(map(oracle.regret, rates)), 4) if rates else None,
        spread=_spread(rates),
        refused=len(results) - len(rates),
        choices=len(results),
        refusal=next((one.refusal for one in results if one.refusal is not None), None),
        steps=round(fmean(one.steps for one in results), 1),
        seeds=round(fmean(len(one.trials) for one in results), 2),
        rate_by_budget=by_budget,
        by_budget=_spread([rate for rate in by_budget.values() if rate is not None]),
        sweeps_by_budget=_spread([rate for rate in swept if rate is not None]),
        peers={"75% of a sweep": Rated.of(swept[BUDGETS.index(_PEERS_STEPS)], oracle)} | peers,
    )
    return judged, oracle


def _found(
    recorder: Recorder, seeds: Sequence[int], num_training: int = _SETTINGS.num_training
) -> Result:
    """Run the whole range test on recorded trainings."""
    limits = Limits(LR_MIN, LR_MAX, _SETTINGS.horizon, num_training * len(seeds))
    return LearningRateSearch(Replayed(recorder), limits).run(seeds)


def _spread(rates: Sequence[float]) -> float | None:
    return round(max(rates) / min(rates), 3) if len(rates) > 1 else None
