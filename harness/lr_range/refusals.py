"""Reasons why the curves of an LR range test support no learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from harness.lr_range.ratio import log_median, outside, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lr_range.curve import Curve

_MIN_STEPS = 10
_MIN_FINITE_STEPS = 30
_MIN_SIGNAL_TO_NOISE = 4.0
_MAX_SEED_RATIO = 4.0
# Shares of the range in log space: no suggestion may be near an end, no minimum at the upper end.
_EDGE = 0.1
_MINIMUM_EDGE = 0.05
# A loss that rises within this share of the range, and has not fallen before, rises from the start.
_EARLY = 0.25


@dataclass(frozen=True, slots=True)
class Sweeps:
    """The sweeps of all seeds: the data that a refusal depends on."""

    learning_rates: Sequence[float]
    curves: Sequence[Curve]

    @property
    def rates(self) -> list[float]:
        """The suggestions of the seeds whose loss fell."""
        return [curve.suggestion for curve in self.curves if curve.suggestion is not None]

    @property
    def signal_to_noise(self) -> float:
        """The median over the seeds."""
        return median(curve.signal_to_noise for curve in self.curves)

    @property
    def span(self) -> str:
        """The range of the learning rate, in words."""
        return f"{self.learning_rates[0]:.3g} to {self.learning_rates[-1]:.3g}"


def unusable(sweeps: Sweeps) -> str | None:
    """Return the reason when the curves are too short, or not finite, to be read."""
    num_seeds = len(sweeps.curves)
    for number, curve in enumerate(sweeps.curves, start=1):
        step = curve.not_finite_at
        if step is not None and step < _MIN_FINITE_STEPS:
            return (
                f"the loss of sweep {number} of {num_seeds} was not finite at step {step + 1}, at a"
                f" learning rate of {sweeps.learning_rates[step]:.3g}, and the first"
                f" {_MIN_FINITE_STEPS} must be: check the loss and the precision, or lower"
                " lr_range.lr_min"
            )
    fewest = min(len(curve.smoothed) for curve in sweeps.curves)
    if fewest < _MIN_STEPS:
        return (
            f"a sweep has only {fewest} usable steps of {len(sweeps.learning_rates)}, and at least"
            f" {_MIN_STEPS} are needed: raise lr_range.num_training, or lower lr_range.lr_min if"
            " the loss diverged"
        )
    return None


def noise(sweeps: Sweeps) -> str | None:
    """Return the reason when the drop of the loss is lost in its noise."""
    if sweeps.signal_to_noise >= _MIN_SIGNAL_TO_NOISE:
        return None
    drop = median(curve.drop for curve in sweeps.curves)
    noise = median(curve.noise for curve in sweeps.curves)
    return (
        f"the signal is lost in the noise: over {len(sweeps.learning_rates)} steps from"
        f" {sweeps.span} the loss fell by {drop:.3g} where a single step varies by {noise:.3g}"
        f" (signal-to-noise {sweeps.signal_to_noise:.2f}, at least {_MIN_SIGNAL_TO_NOISE:g} is"
        " needed): raise lr_range.num_training or the batch size"
    )


def rising(sweeps: Sweeps) -> str | None:
    """Return the reason when the loss rises from the start of the range, and never fell before."""
    rises = [1.0 if curve.rises_at is None else curve.rises_at for curve in sweeps.curves]
    if sweeps.signal_to_noise >= _MIN_SIGNAL_TO_NOISE or median(rises) > _EARLY:
        return None
    lowest, highest = sweeps.learning_rates[0], sweeps.learning_rates[-1]
    rate = lowest * (highest / lowest) ** median(rises)
    return (
        f"the loss never fell, and had clearly risen at {rate:.3g}, in the first {_EARLY:.0%} of"
        f" the range from {sweeps.span}: lower lr_range.lr_min"
    )


def disagreement_of(sweeps: Sweeps) -> str | None:
    """Return the reason when the seeds suggest learning rates too far apart, or none."""
    rates = sweeps.rates
    remedy = "raise lr_range.num_training or the batch size"
    if len(rates) < len(sweeps.curves):
        still = len(sweeps.curves) - len(rates)
        return (
            f"the seeds disagree: the loss never fell in {still} of {len(sweeps.curves)} sweeps:"
            f" {remedy}"
        )
    if not outside(max(rates), min(rates), _MAX_SEED_RATIO):
        return None
    return (
        f"the seeds disagree: they suggest {', '.join(f'{rate:.3g}' for rate in rates)},"
        f" x{ratio(max(rates), min(rates)):.1f} apart, and at most x{_MAX_SEED_RATIO:g} is"
        f" allowed: {remedy}"
    )


def edge(sweeps: Sweeps) -> str | None:
    """Return the reason when the suggestion is too near an end of the range."""
    lowest, highest = sweeps.learning_rates[0], sweeps.learning_rates[-1]
    combined = log_median(sweeps.rates)
    at = math.log(combined / lowest) / math.log(highest / lowest)
    where = f"of the range from {sweeps.span}"
    if at < _EDGE:
        return (
            f"the loss had made 75% of its drop at {combined:.3g}, in the first {_EDGE:.0%}"
            f" {where}: lower lr_range.lr_min"
        )
    if at > 1 - _EDGE:
        return (
            f"the loss had made 75% of its drop only at {combined:.3g}, in the last {_EDGE:.0%}"
            f" {where}: raise lr_range.lr_max"
        )
    if median(curve.minimum_at for curve in sweeps.curves) > 1 - _MINIMUM_EDGE:
        return (
            f"the loss still falls at the end {where}, so its minimum is not known:"
            " raise lr_range.lr_max"
        )
    return None
