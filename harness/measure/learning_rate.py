"""Runs the LR range test of a case, and saves its plot and curve.

Each seed is swept once, and once more with twice the steps if the signal is weak. New seeds are
swept before the test may fail.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from harness.bounds.measured import learning_rate_suspect
from harness.lr_range import plot as lr_plot
from harness.lr_range.ratio import log_median
from harness.lr_range.suggestion import suggest
from harness.measure.lr_sweeps import RangeTest
from harness.measure.rate_of_attribute import confirmed, find_rate_map

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.measure.lr_sweeps import Sweeps
    from harness.measurement import Measurement
    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")


def with_learning_rate(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add the learning rate at the tuned batch, or the reason why there is none."""
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
    test = RangeTest(opened, measurement, rate_map)
    test.announce(measurement)
    sweeps = test.sweep(settings.num_training, settings.seeds)
    if sweeps.suggestion is not None and sweeps.suggestion.retry:
        _log.info(
            "%s: LR range test: %s; trying twice the steps", case.id, sweeps.suggestion.refusal
        )
        sweeps = test.sweep(2 * settings.num_training, settings.seeds)
    measurement = _with_sweeps(measurement, sweeps)
    if locked is not None and (
        learning_rate_suspect(measurement, locked, case.bounds)
        or _refused_by_chance(sweeps, locked)
    ):
        measurement = _with_more_seeds(test, measurement, locked, sweeps)
    measurement = confirmed(opened.runner, measurement, rate_map)
    return replace(measurement, artifacts=_save(opened, measurement, sweeps))


def kept_if_unchanged(measurement: Measurement, locked: LockedProfile | None) -> Measurement:
    """Return the measurement with the locked learning rate, if that holds for it."""
    if locked is None or not _unchanged(measurement, locked):
        return measurement
    return _kept(measurement, locked)


def _with_sweeps(measurement: Measurement, sweeps: Sweeps) -> Measurement:
    suggestion = sweeps.suggestion
    return replace(
        measurement,
        learning_rate=sweeps.learning_rate,
        learning_rates=sweeps.per_seed,
        lr_refusal=sweeps.refusal,
        signal_to_noise=suggestion.signal_to_noise if suggestion else None,
        lr_curves=sweeps.curves,
    )


def _with_more_seeds(
    test: RangeTest, measurement: Measurement, locked: LockedProfile, first: Sweeps
) -> Measurement:
    """Sweep an equal number of new seeds: only the median of all seeds may fail the test."""
    case = test.opened.case
    seeds = case.lr_range.seeds
    fresh = list(islice((seed for seed in count() if seed not in seeds), len(seeds)))
    _log.info(
        "%s: learning rate %s, and %.3g is locked: running seeds %s before judging",
        case.id,
        "refused" if measurement.learning_rate is None else f"{measurement.learning_rate:.3g}",
        locked.learning_rate,
        fresh,
    )
    second = test.sweep(len(first.learning_rates), fresh)
    settled = second.learning_rate is not None or (
        second.suggestion and second.suggestion.disagreement
    )
    if second.suggestion is None or first.suggestion is None or not settled:
        return replace(
            measurement,
            lr_curves=first.curves + second.curves,
            warnings=(
                *measurement.warnings,
                f"the new seeds gave no learning rate: {second.refusal}",
            ),
        )
    per_seed = first.per_seed + second.per_seed
    together = replace(
        measurement,
        learning_rate=log_median(per_seed),
        learning_rates=per_seed,
        lr_refusal=None,
        lr_curves=first.curves + second.curves,
    )
    if measurement.lr_refusal is None:
        return together
    if learning_rate_suspect(together, locked, case.bounds):
        # All seeds together contradict the lock as well, so the refusal stands.
        return replace(measurement, lr_curves=together.lr_curves)
    return replace(together, warnings=(*measurement.warnings, measurement.lr_refusal))


def _refused_by_chance(sweeps: Sweeps, locked: LockedProfile) -> bool:
    """Return whether the seeds disagree while a learning rate is locked: more may confirm it."""
    return (
        locked.learning_rate is not None
        and sweeps.suggestion is not None
        and sweeps.suggestion.disagreement
    )


def _save(opened: OpenCase, measurement: Measurement, sweeps: Sweeps) -> tuple[str, ...]:
    """Save the curve as PNG and JSON and return both paths; `plot_path` overrides the PNG's."""
    if sweeps.suggestion is None:
        return ()
    case, surroundings = opened.case, opened.surroundings
    folder = surroundings.directory / case.id
    losses = [curve.losses for curve in measurement.lr_curves]
    suggestion = sweeps.suggestion
    if len(losses) > len(sweeps.curves):
        suggestion = suggest(sweeps.learning_rates, losses)
    plot_path = (
        Path(case.lr_range.plot_path) if case.lr_range.plot_path else folder / "lr_range.png"
    )
    if not plot_path.is_absolute():
        plot_path = surroundings.working_directory / plot_path
    curve_path = folder / "lr_range.json"
    title = f"{case.id}, batch {measurement.batch_size}"
    lr_plot.plot(
        plot_path,
        title=title,
        learning_rates=sweeps.learning_rates,
        losses_per_seed=losses,
        suggestion=suggestion,
    )
    lr_plot.save_curve(
        curve_path,
        title=title,
        learning_rates=sweeps.learning_rates,
        losses_per_seed=losses,
        suggestion=suggestion,
    )
    return (str(plot_path), str(curve_path))


def _unchanged(measurement: Measurement, locked: LockedProfile) -> bool:
    """Return whether everything that the learning rate depends on is as it was locked."""
    return (
        (locked.learning_rate is not None or locked.lr_refusal is not None)
        and locked.fingerprint == measurement.fingerprint
        and locked.recipe == measurement.recipe
        and locked.batch_size == measurement.batch_size
        and locked.made_with.get("torch") == measurement.made_with.get("torch")
    )


def _kept(measurement: Measurement, locked: LockedProfile) -> Measurement:
    return replace(
        measurement,
        learning_rate=locked.learning_rate,
        learning_rates=locked.learning_rates,
        lr_refusal=locked.lr_refusal,
        lr_kept=True,
    )
