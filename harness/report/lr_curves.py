"""Renders what an LR range test saw, in as many numbers as a picture shows."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measurement import LrCurve, Measurement
    from harness.report.documents import LrSweep, LrTrial

# A chart of a sweep is some 400 points wide, and its losses jump from step to step: of each stretch
# the lowest and the highest are kept.
_MAX_POINTS = 60
_DIGITS = 4


def lr_sweeps(measurement: Measurement) -> list[LrSweep]:
    """Return the sweeps of the range test: seed, learning rates and losses, thinned."""
    shown: list[LrSweep] = []
    for curve in measurement.lr_curves:
        if _is_trial(curve):
            continue
        steps = _thinned(curve.losses)
        shown.append(
            {
                "seed": curve.seed,
                "learning_rates": [_rounded(curve.learning_rates[step]) for step in steps],
                "losses": [_rounded(curve.losses[step]) for step in steps],
            }
        )
    return shown


def lr_trials(measurement: Measurement) -> list[LrTrial]:
    """Return the trials of the horizon that counts: seed, learning rate and loss.

    The loss is the mean over the second half of the steps; None where the trial diverged.
    """
    horizon = _horizon(measurement)
    return [
        {
            "seed": curve.seed,
            "learning_rate": _rounded(curve.learning_rates[0]),
            "loss": _loss(curve.losses, horizon),
        }
        for curve in measurement.lr_curves
        if _is_trial(curve) and curve.num_steps == horizon
    ]


def condensed(measurement: Measurement) -> Measurement:
    """Return a measurement whose curves hold what `lr_sweeps` and `lr_trials` show of them.

    All losses of a trial become their mean. A range test of 500 steps has 30 KB as it is, and 4 KB
    then.
    """
    horizon = _horizon(measurement)
    return replace(
        measurement,
        lr_curves=tuple(
            _condensed_trial(curve, horizon) if _is_trial(curve) else _condensed_sweep(curve)
            for curve in measurement.lr_curves
        ),
    )


def _condensed_sweep(curve: LrCurve) -> LrCurve:
    steps = _thinned(curve.losses)
    return replace(
        curve,
        learning_rates=tuple(curve.learning_rates[step] for step in steps),
        losses=tuple(curve.losses[step] for step in steps),
    )


def _condensed_trial(curve: LrCurve, horizon: int) -> LrCurve:
    number = len(curve.losses)
    mean = fmean(curve.losses[horizon // 2 :]) if 0 < horizon <= number else math.nan
    return replace(
        curve,
        learning_rates=(curve.learning_rates[0],) * len(curve.learning_rates),
        losses=(mean,) * number,
    )


def _horizon(measurement: Measurement) -> int:
    """Return the steps of the trials that count, which are the longest."""
    trials = [curve for curve in measurement.lr_curves if _is_trial(curve)]
    return max((curve.num_steps or 0 for curve in trials), default=0)


def _is_trial(curve: LrCurve) -> bool:
    """Return whether a training had one rate; that of a single step tells nothing of a sweep."""
    return len({*curve.learning_rates}) == 1


def _loss(losses: Sequence[float], horizon: int) -> float | None:
    if len(losses) < horizon:
        return None
    return _rounded(fmean(losses[horizon // 2 :]))


def _thinned(losses: Sequence[float]) -> list[int]:
    """Return the steps to show: all, or of each stretch those with the lowest and highest loss."""
    if len(losses) <= _MAX_POINTS:
        return list(range(len(losses)))
    width = math.ceil(2 * len(losses) / _MAX_POINTS)
    kept: set[int] = set()
    for begin in range(0, len(losses), width):
        steps = range(begin, min(begin + width, len(losses)))
        kept |= {min(steps, key=losses.__getitem__), max(steps, key=losses.__getitem__)}
    return sorted(kept)


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
