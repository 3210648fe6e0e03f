"""Makes the LR range test that a case's settings ask for: its strategies and its stages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from harness.identity.same_workload import same_workload
from harness.lr_range.find import LearningRateSearch, Limits
from harness.lr_range.strategy_search import Strategy, StrategySearch, strategy_of
from harness.lr_range.suggestion import geometric_sweep
from harness.probes import lr_probes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lr_range.rate_map import RateMap
    from harness.lr_range.strategy_search import Reading
    from harness.measure.lr_trainings import ProbeTrainings
    from harness.measurement import Measurement
    from harness.probes.open_cases import OpenCase
    from harness.probes.runner import ProbeRunner
    from harness.protocol.case import ObjectSpec


def make_search(
    opened: OpenCase,
    measurement: Measurement,
    trainings: ProbeTrainings,
    rate_map: RateMap | None,
) -> tuple[LearningRateSearch | StrategySearch, Limits]:
    """Return the search, and the limits of its trials.

    Where the lock is current, the trials start at its rate and with its horizon, and a first seed
    may confirm it. A lock without a range holds a rate of another rule, which one seed must not
    confirm, unless the recipe asks for none.

    The preset `thorough` asks the same question, over the same horizon, and answers it anew: with a
    sweep, and with all seeds.
    """
    settings, locked = opened.case.lr_range, opened.locked
    cold = opened.case.preset == "thorough"
    horizon = settings.horizon
    rate: float | None = None
    confirmed_by: tuple[float, ...] = ()
    if (
        locked is not None
        and locked.learning_rate is not None
        and locked.lr_answered
        and locked.recipe == measurement.recipe
        and same_workload(locked, measurement)
    ):
        # The same seed suggests nearly the same again, also where it is far from the other seeds.
        horizon = max(horizon, locked.lr_horizon or 0)
        if not cold:
            values = (locked.learning_rate, *locked.learning_rates[:1])
            confirmed_by = values if rate_map is None else tuple(map(rate_map.rate_for, values))
            known = settings.lr_min <= confirmed_by[0] <= settings.lr_max
            rate = confirmed_by[0] if known else None
    max_steps = settings.num_training * len(settings.seeds)
    limits = Limits(settings.lr_min, settings.lr_max, horizon, max_steps)
    trials = LearningRateSearch(trainings, limits, rate, confirmed_by, all_seeds=cold)
    if len(settings.strategy) == 1 and not settings.decides_by_sweeps:
        return trials, limits
    search = StrategySearch(
        trainings,
        geometric_sweep(settings.lr_min, settings.lr_max, settings.num_training),
        [
            strategy_of(one)
            if isinstance(one, str)
            else _own(opened.runner, cast("ObjectSpec", one.plain()))
            for one in settings.strategy
        ],
        None if settings.stages == 1 else trials,
        decided_by_trials=not settings.decides_by_sweeps,
        confirmed_by=confirmed_by,
    )
    return search, limits


def _own(runner: ProbeRunner, spec: ObjectSpec) -> Strategy:
    """Return the strategy that a function of the user's is."""
    return Strategy(spec["class_path"], partial(_read, runner, spec), asks_for_signal=False)


def _read(
    runner: ProbeRunner,
    spec: ObjectSpec,
    learning_rates: Sequence[float],
    sweeps: Sequence[Sequence[float]],
) -> list[Reading]:
    found = lr_probes.read_sweeps(runner.ask, spec, learning_rates, sweeps)
    if found.failure is not None:
        return [found.failure] * len(sweeps)
    return ["it returned None" if rate is None else rate for rate in found.rates]
