"""Reads one learning rate off exponential sweeps alone, or refuses with a reason.

A case's range test begins its trials at what one coarse sweep gives (`harness.lr_range.find`).
Smith, "Cyclical Learning Rates for Training Neural Networks" (WACV 2017), raises the learning rate
step by step and reads the useful range off the loss. Here a rule does this. Each seed gives the
learning rate at which the smoothed loss first completes 75% of its drop. The suggestion is the
median over the seeds in log space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, stdev
from typing import TYPE_CHECKING

from harness.lr_range.curve import analyse, divergence, finite_prefix, make_kernel
from harness.lr_range.ratio import log_median
from harness.lr_range.refusals import Sweeps, disagreement_of, edge, noise, rising, unusable

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The result of the sweeps of one workload: a learning rate or a refusal, never both."""

    learning_rate: float | None
    """The median of `per_seed` in log space."""
    refusal: str | None
    """The reason, with the measured values, the limits and the remedy."""
    per_seed: tuple[float | None, ...]
    """The 75% point of each seed, also with a refusal; None for a seed whose loss never fell."""
    signal_to_noise: float
    """The drop of the smoothed loss over the noise of one step; the median over the seeds."""
    log_sd: float
    """The sample standard deviation of the natural log of `per_seed`; 0 with fewer than two."""
    initial_loss: float | None
    """The plateau before the loss moves; the median over the seeds. None without a finite loss."""
    fractional_drop: float | None
    """The median over the seeds of drop / |initial loss|; None for an initial loss of 0."""
    smoothed: tuple[tuple[float, ...], ...]
    """For each seed, the smoothed loss at each learning rate, up to the step that diverged."""


def geometric_sweep(lr_min: float, lr_max: float, num_training: int) -> tuple[float, ...]:
    """Return `num_training` learning rates from `lr_min` to `lr_max`, both included.

    Each is the one before times a common factor. Raises ValueError unless 0 < lr_min < lr_max and
    num_training >= 2.
    """
    if not 0 < lr_min < lr_max < math.inf:
        raise ValueError(
            f"an LR sweep needs 0 < lr_min < lr_max, got lr_min={lr_min:g}, lr_max={lr_max:g}"
        )
    if num_training < 2:  # noqa: PLR2004 - a range has two ends
        raise ValueError(f"an LR sweep needs num_training of at least 2, got {num_training}")
    ratio = lr_max / lr_min
    inner = (lr_min * ratio ** (step / (num_training - 1)) for step in range(1, num_training - 1))
    return (lr_min, *inner, lr_max)


def diverged(losses: Sequence[float | None], num_training: int) -> bool:
    """Return whether a sweep of `num_training` steps can stop after these raw losses.

    It can stop once a loss is not finite, or once the median of the last 5 losses exceeds the
    plateau by more than both the drop so far and 10 sigma of the noise. `suggest` ignores all later
    losses, so stopping never changes its answer.
    """
    finite = finite_prefix(losses)
    if len(finite) < len(losses):
        return True
    return bool(finite) and divergence(finite, num_training)[0] is not None


def suggest(
    learning_rates: Sequence[float], losses_per_seed: Sequence[Sequence[float | None]]
) -> Suggestion:
    """Return the learning rate that the sweeps suggest, or the refusal.

    `learning_rates` holds the rising learning rate of each optimizer step. `losses_per_seed` holds
    one sequence of raw losses per seed, which is shorter if the sweep stopped early. None, NaN or
    an infinity ends a seed's curve. Raises ValueError when the sizes do not match, and when a
    learning rate is not positive or not rising.
    """
    _check(learning_rates, losses_per_seed)
    if learning_rates[0] == learning_rates[-1]:
        return _nothing(
            len(losses_per_seed),
            f"the learning rate never moved: it was {learning_rates[0]:.3g} in all"
            f" {len(learning_rates)} steps; leave the optimizer's learning rate to the range test"
            " (no scheduler or callback that sets it)",
        )
    logs = [math.log(rate) for rate in learning_rates]
    kernel = make_kernel(logs)
    sweeps = Sweeps(learning_rates, [analyse(logs, kernel, losses) for losses in losses_per_seed])
    reasons = (find(sweeps) for find in (unusable, rising, noise, disagreement_of, edge))
    return _suggestion(sweeps, next((reason for reason in reasons if reason is not None), None))


def no_signal(
    learning_rates: Sequence[float], losses_per_seed: Sequence[Sequence[float | None]]
) -> str | None:
    """Return the reason why sweeps support no learning rate, whatever the rule; None if they may.

    The loss is not finite or diverges early, rises from the start, or falls by no more than noise.
    """
    _check(learning_rates, losses_per_seed)
    logs = [math.log(rate) for rate in learning_rates]
    kernel = make_kernel(logs)
    sweeps = Sweeps(learning_rates, [analyse(logs, kernel, losses) for losses in losses_per_seed])
    reasons = (find(sweeps) for find in (unusable, rising, noise))
    return next((reason for reason in reasons if reason is not None), None)


def _check(
    learning_rates: Sequence[float], losses_per_seed: Sequence[Sequence[float | None]]
) -> None:
    if not learning_rates:
        raise ValueError("learning_rates is empty: a range test has one per optimizer step")
    if not losses_per_seed:
        raise ValueError(
            "losses_per_seed is empty: a range test has the losses of at least one seed"
        )
    for step, rate in enumerate(learning_rates):
        if not 0 < rate < math.inf:
            raise ValueError(
                f"learning_rates[{step}] is {rate:g}: learning rates are positive and finite"
            )
    if len(set(learning_rates)) > 1:
        for step, (before, after) in enumerate(pairwise(learning_rates), start=1):
            if after <= before:
                raise ValueError(
                    f"learning_rates[{step}] is {after:g} after {before:g}:"
                    " a range test's learning rates rise"
                )
    for seed, losses in enumerate(losses_per_seed):
        if len(losses) > len(learning_rates):
            raise ValueError(
                f"losses_per_seed[{seed}] has {len(losses)} losses for {len(learning_rates)}"
                " learning rates: a seed has one per learning rate, or fewer where its sweep"
                " stopped early"
            )


def _suggestion(sweeps: Sweeps, refusal: str | None) -> Suggestion:
    logs = [math.log(rate) for rate in sweeps.rates]
    levels = [curve.initial_loss for curve in sweeps.curves if curve.initial_loss is not None]
    falls = [curve.drop / abs(curve.initial_loss) for curve in sweeps.curves if curve.initial_loss]
    return Suggestion(
        learning_rate=log_median(sweeps.rates) if refusal is None else None,
        refusal=refusal,
        per_seed=tuple(curve.suggestion for curve in sweeps.curves),
        signal_to_noise=sweeps.signal_to_noise,
        log_sd=stdev(logs) if len(logs) > 1 else 0.0,
        initial_loss=median(levels) if levels else None,
        fractional_drop=median(falls) if falls else None,
        smoothed=tuple(curve.smoothed for curve in sweeps.curves),
    )


def _nothing(num_seeds: int, refusal: str) -> Suggestion:
    return Suggestion(
        learning_rate=None,
        refusal=refusal,
        per_seed=(None,) * num_seeds,
        signal_to_noise=0.0,
        log_sd=0.0,
        initial_loss=None,
        fractional_drop=None,
        smoothed=((),) * num_seeds,
    )
