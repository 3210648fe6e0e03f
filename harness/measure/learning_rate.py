"""Runs the LR range test of a case, and saves its plot and curves.

New seeds are tried before the test may fail.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from harness.bounds.measured import learning_rate_confirmed, learning_rate_suspect
from harness.identity.same_workload import same_workload
from harness.lr_range import plot as lr_plot
from harness.measure.lr_strategies import make_search
from harness.measure.lr_trainings import ProbeTrainings
from harness.measure.rate_of_attribute import confirmed, find_rate_map

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.lr_range.find import LearningRateSearch
    from harness.lr_range.found import Result
    from harness.lr_range.rate_map import RateMap
    from harness.lr_range.strategy_search import StrategySearch
    from harness.matrix.settings import LrRangeSettings
    from harness.measurement import Measurement
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")


def with_learning_rate(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add the learning rate at the tuned batch and its range, or the reason why there is none."""
    case, locked = opened.case, opened.locked
    settings = case.lr_range
    if measurement.device.simulated:
        return replace(measurement, lr_refusal="a simulated GPU computes no loss")
    if settings.when == "never":
        return _kept(measurement, locked) if locked is not None else measurement
    if settings.when == "changed" and locked is not None and _unchanged(measurement, locked):
        return _kept(measurement, locked)
    if opened.description.synthetic:
        return replace(measurement, lr_refusal="the data are synthetic: there is nothing to learn")

    rate_map = find_rate_map(opened.runner, measurement.batch_size)
    if isinstance(rate_map, str):
        _log.info("%s: LR range test refused: %s", case.id, rate_map)
        return replace(measurement, lr_refusal=rate_map)
    return _tested(opened, measurement, rate_map)


def _tested(opened: OpenCase, before: Measurement, rate_map: RateMap | None) -> Measurement:
    """Run the range test, and save what it saw."""
    case, locked, seeds = opened.case, opened.locked, opened.case.lr_range.tried_seeds
    trainings = ProbeTrainings(opened, before, rate_map)
    search, limits = make_search(opened, before, trainings, rate_map)
    trainings.announce(before, limits)
    result = search.run(seeds)
    if result.refusal is not None and trainings.raised is not None:
        result = replace(result, refusal=f"{trainings.raised}; {result.refusal}")
    if result.refusal is not None:
        _log.info("%s: LR range test refused: %s", case.id, result.refusal)
    measurement = _with_result(before, result, rate_map)
    if locked is not None and _may_fail(opened, measurement, result, locked):
        measurement, result = _with_more_seeds(opened, before, search, result, rate_map)
    measurement = replace(measurement, lr_curves=tuple(trainings.curves))
    if search.locked_rate is None and len(measurement.learning_rates) < min(2, len(seeds)):
        measurement = _warned_of_one_seed(measurement, len(seeds))
    if search.locked_rate is None:
        measurement = _warned_of_short_trials(measurement, case.lr_range)
    measurement = confirmed(opened.runner, measurement, rate_map)
    if measurement.lr_refusal is not None:
        result = replace(result, found=None, refusal=measurement.lr_refusal)
    if (
        locked is not None
        and locked.learning_rate is not None
        and learning_rate_confirmed(measurement, locked, case.bounds)
    ):
        measurement = replace(
            measurement,
            lr_confirmed=True,
            group_rates_at_locked=(
                () if rate_map is None else rate_map.different_at(locked.learning_rate)
            ),
        )
    # Failures show the first one.
    artifacts = (*_save(opened, measurement, result), *measurement.artifacts)
    return replace(measurement, artifacts=artifacts)


def kept_if_unchanged(measurement: Measurement, locked: LockedProfile | None) -> Measurement:
    """Return the measurement with the locked learning rate, if that holds for it."""
    if locked is None or not _unchanged(measurement, locked):
        return measurement
    return _kept(measurement, locked)


def _with_result(measurement: Measurement, result: Result, rate_map: RateMap | None) -> Measurement:
    """Add what was found, as values of the workload's attribute."""

    def value_for(rate: float) -> float:
        return rate if rate_map is None else rate_map.value_for(rate)

    found = result.found
    return replace(
        measurement,
        warnings=(*measurement.warnings, *filter(None, (result.remark,))),
        learning_rate=None if found is None else value_for(found.learning_rate),
        learning_rates=() if found is None else tuple(map(value_for, found.per_seed)),
        learning_rate_range=(
            (value_for(found.lowest), value_for(found.highest))
            if found is not None and found.has_range
            else ()
        ),
        lr_horizon=result.horizon if found is not None and found.has_range else None,
        lr_refusal=result.refusal,
        lr_steps=result.steps,
        signal_to_noise=result.signal_to_noise,
    )


def _warned_of_one_seed(measurement: Measurement, num_seeds: int) -> Measurement:
    """Warn where steps or time ended before a second seed could agree with the first."""
    if measurement.learning_rate is None:
        return measurement
    warning = (
        f"the learning rate is that of 1 of {num_seeds} seeds: steps or time ended before another "
        "could agree; raise lr_range.num_training or lr_range.max_seconds"
    )
    return replace(measurement, warnings=(*measurement.warnings, warning))


def _warned_of_short_trials(measurement: Measurement, settings: LrRangeSettings) -> Measurement:
    """Warn where the steps were too few for trials of the horizon that was asked for."""
    horizon = measurement.lr_horizon
    if horizon is None or horizon >= settings.horizon:
        return measurement
    warning = (
        f"the learning rate is for the first {horizon} steps, where lr_range.horizon asks for "
        f"{settings.horizon}: {settings.max_steps} steps (lr_range.num_training x the number of "
        "seeds) allow no longer trials; raise lr_range.num_training"
    )
    return replace(measurement, warnings=(*measurement.warnings, warning))


def _may_fail(
    opened: OpenCase, measurement: Measurement, result: Result, locked: LockedProfile
) -> bool:
    """Return whether the test would fail by a rate, or by a disagreement that is chance."""
    if result.disagreement:
        return locked.learning_rate is not None
    return learning_rate_suspect(measurement, locked, opened.case.bounds)


def _with_more_seeds(
    opened: OpenCase,
    before: Measurement,
    search: LearningRateSearch | StrategySearch,
    result_first: Result,
    rate_map: RateMap | None,
) -> tuple[Measurement, Result]:
    """Try as many new seeds again: only all of them together may fail the test."""
    case, locked = opened.case, opened.locked
    assert locked is not None, "only a locked rate is contradicted"
    first, seeds = _with_result(before, result_first, rate_map), case.lr_range.seeds
    # As many as are configured, whatever the stage: one alone could agree by chance.
    fresh = list(islice((seed for seed in count() if seed not in seeds), len(seeds)))
    _log.info(
        "%s: learning rate %s, and %.3g is locked: trying seeds %s before judging",
        case.id,
        "refused" if first.learning_rate is None else f"{first.learning_rate:.3g}",
        locked.learning_rate,
        fresh,
    )
    result = search.more(fresh)
    together = _with_result(before, result, rate_map)
    # What the first seeds gave, with all that was seen.
    stands = replace(result, found=result_first.found, refusal=result_first.refusal)
    if result.found is None:
        warning = f"the new seeds gave no learning rate: {result.refusal}"
        kept = replace(first, lr_steps=result.steps, warnings=(*first.warnings, warning))
        return kept, stands
    if first.lr_refusal is None:
        if len(together.learning_rates) == len(first.learning_rates):
            # Only time leaves all seeds out without a refusal.
            warning = f"lr_range.max_seconds was over before the first of the seeds {fresh} ended"
            together = replace(together, warnings=(*together.warnings, warning))
        return together, result
    if learning_rate_suspect(together, locked, case.bounds):
        # All seeds together contradict the lock as well, so the refusal stands.
        return replace(first, lr_steps=result.steps), stands
    return replace(together, warnings=(*together.warnings, first.lr_refusal)), result


def _save(opened: OpenCase, measurement: Measurement, result: Result) -> tuple[str, ...]:
    """Save the curves as PNG and JSON and return both paths; `plot_path` overrides the PNG's."""
    if not result.losses and not any(trials.losses for trials in result.trials.values()):
        return ()
    case, surroundings = opened.case, opened.surroundings
    folder = surroundings.directory / case.id
    plot_path = (
        Path(case.lr_range.plot_path) if case.lr_range.plot_path else folder / "lr_range.png"
    )
    if not plot_path.is_absolute():
        plot_path = surroundings.working_directory / plot_path
    curve_path = folder / "lr_range.json"
    title = f"{case.id}, batch {measurement.batch_size}"
    groups = measurement.group_learning_rates
    lr_plot.plot(plot_path, title=title, result=result, groups=groups)
    lr_plot.save_curve(curve_path, title=title, result=result, groups=groups)
    return (str(plot_path), str(curve_path))


def _unchanged(measurement: Measurement, locked: LockedProfile) -> bool:
    """Return whether everything that the learning rate depends on is as it was locked."""
    return (
        locked.lr_answered
        and same_workload(locked, measurement)
        and locked.recipe == measurement.recipe
        and locked.batch_size == measurement.batch_size
        and locked.made_with.get("torch") == measurement.made_with.get("torch")
    )


def _kept(measurement: Measurement, locked: LockedProfile) -> Measurement:
    return replace(measurement.with_learning_rate_of(locked), lr_kept=True)
