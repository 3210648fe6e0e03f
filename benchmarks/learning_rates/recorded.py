"""Judges the rules on recorded sweeps, whose oracle has first and last losses at half decades.

For each configuration (task, optimizer, batch size) the data hold LR sweeps with 5 seeds, and the
initial and the final loss of training for 200 steps at constant rates, with two further seeds.
"""

from __future__ import annotations

import itertools
import math
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING, Any

from harness.lr_range.find import LearningRateSearch, Limits, NoLossesError
from harness.lr_range.suggestion import diverged, geometric_sweep
from harness.lr_range.trials import point_of
from learning_rates.oracles import Oracle, Run
from learning_rates.peers import PEERS, drop_rule, over_seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Row = dict[str, float | None]
    """learning_rate, regret and spread; None where the rule refuses."""

_SWEEP = "C"
_NUM_SEEDS = 3
HORIZON = 200
# The steps are not judged here: a trial costs nothing.
MAX_STEPS = 1_000_000
_HALF_DECADE = 2
WHOLE = "the range test"
SWEEPS = "75% of a sweep"


class FinalLosses:
    """Trials of 200 steps from what is recorded of one seed's trainings at constant rates.

    A trial has the recorded initial loss in its first half and the recorded final loss in its
    second, so its loss is the final one. It has no noise, so refusals for noise are not judged.
    Between two recorded rates the final loss is linear in the log of the rate. The sweep is one of
    200 steps, of which the range test gets the nearest ones: it only tells where to begin.
    """

    def __init__(self, runs: Sequence[Run], recorded: Mapping[str, Any]) -> None:
        self._final = {round(point_of(run.learning_rate)): run.final_loss for run in runs}
        self._initial = runs[0].initial_loss
        self._rates = rates_of(recorded)
        self._sweep = recorded["losses_per_seed"][0]

    def sweep(self, _seed: int, learning_rates: Sequence[float]) -> Sequence[float]:
        """Return the losses of the nearest recorded steps, up to where they diverge."""
        found: list[float] = []
        for rate in learning_rates:
            logs = [abs(math.log(rate / recorded)) for recorded in self._rates]
            loss = self._sweep[logs.index(min(logs))]
            found.append(math.nan if loss is None else loss)
            if diverged(found, len(learning_rates)):
                break
        return found

    def trial(
        self, _seed: int, learning_rate: float, num_steps: int, _ceiling: float | None
    ) -> Sequence[float]:
        """Return the losses of a trial. Raises NoLossesError for what is not recorded."""
        point = round(point_of(learning_rate))
        if num_steps > HORIZON or point > max(self._final):
            raise NoLossesError(f"{num_steps} steps at {learning_rate:.2g} are not recorded")
        low = point - point % _HALF_DECADE
        ends = [self._final[low], self._final[low if low == point else low + _HALF_DECADE]]
        finite = [loss for loss in ends if loss is not None]
        if len(finite) < len(ends):
            return [math.nan]
        first = num_steps // 2
        return [self._initial] * first + [fmean(finite)] * (num_steps - first)


def judge_recorded(configurations: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows and the summary of each rule; the others' where the range test gives one."""
    rules: dict[str, Callable[..., float | None]] = {
        SWEEPS: drop_rule,
        **{
            name: (lambda rates, losses, peer=peer: over_seeds(peer, rates, losses))
            for name, peer in PEERS.items()
        },
    }
    rows = {
        WHOLE: {name: _cross_judged(one) for name, one in configurations.items()},
        **{
            rule: {name: _by_sweeps(one, suggest) for name, one in configurations.items()}
            for rule, suggest in rules.items()
        },
    }
    return {
        "rows": rows,
        "summary": {rule: _summary(rows_of_rule) for rule, rows_of_rule in rows.items()},
    }


def runs_of(configuration: Mapping[str, Any], seed: int) -> list[Run]:
    """Return the recorded trainings of one of the oracle's seeds."""
    return [
        Run(seed, run["lr"], run["initial_loss"], run["final_loss"])
        for run in configuration["oracle_constant_lr"]
        if run["seed"] == seed
    ]


def rates_of(recorded: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the learning rates of recorded sweeps."""
    return geometric_sweep(recorded["lr_min"], recorded["lr_max"], recorded["num_training"])


def _cross_judged(configuration: Mapping[str, Any]) -> Row:
    """Return the range test's row: each seed proposes, the other one judges.

    The range test accepts a configuration where it accepts both seeds.
    """
    seeds = sorted({run["seed"] for run in configuration["oracle_constant_lr"]})
    rates, regrets = [], []
    for proposing, judging in itertools.permutations(seeds):
        runs = runs_of(configuration, proposing)
        ends = [run.learning_rate for run in runs]
        limits = Limits(min(ends), max(ends), HORIZON, MAX_STEPS)
        trainings = FinalLosses(runs, configuration["sweeps"][_SWEEP])
        found = LearningRateSearch(trainings, limits).run([proposing]).found
        if found is None:
            return {"learning_rate": None, "regret": None, "spread": None}
        rates.append(found.learning_rate)
        regrets.append(Oracle(runs_of(configuration, judging)).regret(found.learning_rate))
    return _row(math.exp(fmean(map(math.log, rates))), fmean(regrets), rates)


def _by_sweeps(configuration: Mapping[str, Any], rule: Callable[..., float | None]) -> Row:
    """Return the row of a rule on recorded sweeps: of the first 3 seeds, its spread over all."""
    recorded = configuration["sweeps"][_SWEEP]
    rates, sweeps = rates_of(recorded), recorded["losses_per_seed"]
    rate = rule(rates, sweeps[:_NUM_SEEDS])
    choices = [rule(rates, chosen) for chosen in itertools.combinations(sweeps, _NUM_SEEDS)]
    seeds = {run["seed"] for run in configuration["oracle_constant_lr"]}
    oracle = Oracle([run for seed in seeds for run in runs_of(configuration, seed)])
    given = [choice for choice in choices if choice is not None]
    return _row(rate, rate and oracle.regret(rate), given)


def _row(rate: float | None, regret: float | None, rates: Sequence[float]) -> Row:
    return {
        "learning_rate": rate and float(f"{rate:.4g}"),
        "regret": None if regret is None else round(regret, 4),
        "spread": round(max(rates) / min(rates), 3) if rates else None,
    }


def _summary(rows: Mapping[str, Row]) -> dict[str, float]:
    """Return how many are accepted, median, 90th percentile and worst regret, the worst spread."""
    regrets = [value for row in rows.values() if (value := row["regret"]) is not None]
    spreads = [value for row in rows.values() if (value := row["spread"]) is not None]
    return {
        "accepted": len(regrets),
        "median": round(median(regrets), 4),
        "p90": round(quantiles(regrets, n=10, method="inclusive")[-1], 4),
        "worst": max(regrets),
        "spread": max(spreads),
    }
