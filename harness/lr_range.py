"""From the curves of an LR range test to one learning rate, or to a refusal that says why there is none.

Smith, "Cyclical Learning Rates for Training Neural Networks" (WACV 2017), raises the learning rate step by
step and reads the useful range off the loss. Here the reading is a rule: per seed, the learning rate at which
the smoothed loss has first completed 75% of its drop; over the seeds, the median in log space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median, stdev
from typing import TYPE_CHECKING

from harness.lr_curve import analyse, divergence, finite_prefix, make_kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lr_curve import Curve

_MIN_STEPS = 10
_MIN_FINITE_STEPS = 30
_MIN_SIGNAL_TO_NOISE = 4.0
_MAX_SEED_RATIO = 4.0
# Parts of the range, in log space: no suggestion near an end, no minimum at the upper end.
_EDGE = 0.1
_MINIMUM_EDGE = 0.05


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the sweeps of one workload say: a learning rate or a refusal, never both."""

    learning_rate: float | None
    """The median of `per_seed` in log space."""
    refusal: str | None
    """What is wrong in numbers, what is allowed and what to change."""
    per_seed: tuple[float | None, ...]
    """The 75% point of each seed, also beside a refusal; None where the loss never fell."""
    signal_to_noise: float
    """Drop of the smoothed loss over the noise of one step; the median over the seeds."""
    log_sd: float
    """Sample standard deviation of the natural log of `per_seed`; 0 with fewer than two."""
    initial_loss: float | None
    """The plateau before the loss moves; the median over the seeds. None without a finite loss."""
    fractional_drop: float | None
    """Drop over the size of the initial loss; the median over the seeds. None for an initial loss of 0."""
    smoothed: tuple[tuple[float, ...], ...]
    """Per seed the smoothed loss at each learning rate, up to where the loss diverged."""
    retry: bool = False
    """Refused for noise only: twice the steps over the same range may still give a learning rate."""
    disagreement: bool = False
    """Refused only because the seeds' suggestions, one each, lie apart: more seeds may settle it."""


@dataclass(frozen=True, slots=True)
class _Sweeps:
    """Everything that a refusal may depend on."""

    learning_rates: Sequence[float]
    curves: Sequence[Curve]

    @property
    def rates(self) -> list[float]:
        return [curve.suggestion for curve in self.curves if curve.suggestion is not None]

    @property
    def signal_to_noise(self) -> float:
        return median(curve.signal_to_noise for curve in self.curves)

    @property
    def span(self) -> str:
        return f"{self.learning_rates[0]:.3g} to {self.learning_rates[-1]:.3g}"


def geometric_sweep(lr_min: float, lr_max: float, num_training: int) -> tuple[float, ...]:
    """Return `num_training` learning rates from `lr_min` to `lr_max`, both included, by a common factor."""
    if not 0 < lr_min < lr_max < math.inf:
        raise ValueError(f"an LR sweep needs 0 < lr_min < lr_max, got lr_min={lr_min:g}, lr_max={lr_max:g}")
    if num_training < 2:  # noqa: PLR2004 - a range has two ends
        raise ValueError(f"an LR sweep needs num_training of at least 2, got {num_training}")
    ratio = lr_max / lr_min
    inner = (lr_min * ratio ** (step / (num_training - 1)) for step in range(1, num_training - 1))
    return (lr_min, *inner, lr_max)


def diverged(losses: Sequence[float | None], num_training: int) -> bool:
    """Say whether a sweep of `num_training` steps can stop after these raw losses.

    It can once a loss is not finite, or the median of the last 5 exceeds the plateau by more than the drop so
    far and 10 sigma of the noise. `suggest` ignores whatever follows, so stopping never changes its answer.
    """
    finite = finite_prefix(losses)
    if len(finite) < len(losses):
        return True
    return bool(finite) and divergence(finite, num_training)[0] is not None


def suggest(learning_rates: Sequence[float], losses_per_seed: Sequence[Sequence[float | None]]) -> Suggestion:
    """Return the learning rate that the sweeps suggest, or why they suggest none.

    `learning_rates` holds the rising learning rate of each optimizer step, `losses_per_seed` one sequence of raw
    losses per seed, shorter where the sweep stopped early. None, NaN or an infinity ends a seed's curve. Raises
    ValueError for what is no sweep: sizes that do not match, learning rates that are not positive or not rising.
    """
    _check(learning_rates, losses_per_seed)
    if learning_rates[0] == learning_rates[-1]:
        return _nothing(
            len(losses_per_seed),
            f"the learning rate never moved: it was {learning_rates[0]:.3g} in all {len(learning_rates)} steps; "
            "leave the optimizer's learning rate to the range test (no scheduler or callback that sets it)",
        )
    logs = [math.log(rate) for rate in learning_rates]
    kernel = make_kernel(logs)
    sweeps = _Sweeps(learning_rates, [analyse(logs, kernel, losses) for losses in losses_per_seed])
    refusal = _unusable(sweeps)
    retry = False
    if refusal is None:
        refusal = _noise(sweeps)
        retry = refusal is not None
    disagreement = False
    if refusal is None:
        refusal = _disagreement(sweeps)
        disagreement = refusal is not None and len(sweeps.rates) == len(sweeps.curves)
    if refusal is None:
        refusal = _edge(sweeps)
    return replace(_suggestion(sweeps, refusal, retry=retry), disagreement=disagreement)


def combine(per_seed: Sequence[float]) -> float:
    """Return the median of learning rates in log space.

    Before a test fails for its learning rate, as many new seeds are run: it fails only if the median of both
    sets together, `combine([*first, *second])`, is outside.
    """
    if not per_seed:
        raise ValueError("there is no learning rate to combine: no seed gave one")
    return math.exp(median(math.log(rate) for rate in per_seed))


def outside(measured: float, locked: float, factor: float) -> bool:
    """Say whether two learning rates are more than `factor` apart, either way; exactly `factor` is inside."""
    ratio = max(measured / locked, locked / measured)
    return ratio > factor and not math.isclose(ratio, factor, rel_tol=1e-9)


def _check(learning_rates: Sequence[float], losses_per_seed: Sequence[Sequence[float | None]]) -> None:
    if not learning_rates:
        raise ValueError("learning_rates is empty: a range test has one per optimizer step")
    if not losses_per_seed:
        raise ValueError("losses_per_seed is empty: a range test has the losses of at least one seed")
    for step, rate in enumerate(learning_rates):
        if not 0 < rate < math.inf:
            raise ValueError(f"learning_rates[{step}] is {rate:g}: learning rates are positive and finite")
    if len(set(learning_rates)) > 1:
        for step, (before, after) in enumerate(pairwise(learning_rates), start=1):
            if after <= before:
                raise ValueError(
                    f"learning_rates[{step}] is {after:g} after {before:g}: a range test's learning rates rise"
                )
    for seed, losses in enumerate(losses_per_seed):
        if len(losses) > len(learning_rates):
            raise ValueError(
                f"losses_per_seed[{seed}] has {len(losses)} losses for {len(learning_rates)} learning rates: "
                "a seed has one per learning rate, or fewer where its sweep stopped early"
            )


def _unusable(sweeps: _Sweeps) -> str | None:
    num_seeds = len(sweeps.curves)
    for number, curve in enumerate(sweeps.curves, start=1):
        step = curve.not_finite_at
        if step is not None and step < _MIN_FINITE_STEPS:
            return (
                f"the loss of sweep {number} of {num_seeds} was not finite at step {step + 1}, at a learning rate "
                f"of {sweeps.learning_rates[step]:.3g}, and the first {_MIN_FINITE_STEPS} must be: check the loss "
                "and the precision, or lower lr_range.lr_min"
            )
    fewest = min(len(curve.smoothed) for curve in sweeps.curves)
    if fewest < _MIN_STEPS:
        return (
            f"a sweep has only {fewest} usable steps of {len(sweeps.learning_rates)}, and at least {_MIN_STEPS} "
            "are needed: raise lr_range.num_training, or lower lr_range.lr_min if the loss diverged"
        )
    return None


def _noise(sweeps: _Sweeps) -> str | None:
    if sweeps.signal_to_noise >= _MIN_SIGNAL_TO_NOISE:
        return None
    drop = median(curve.drop for curve in sweeps.curves)
    noise = median(curve.noise for curve in sweeps.curves)
    return (
        f"the signal is lost in the noise: over {len(sweeps.learning_rates)} steps from {sweeps.span} the loss "
        f"fell by {drop:.3g} where a single step varies by {noise:.3g} (signal-to-noise "
        f"{sweeps.signal_to_noise:.2f}, at least {_MIN_SIGNAL_TO_NOISE:g} is needed): raise "
        "lr_range.num_training or the batch size"
    )


def _disagreement(sweeps: _Sweeps) -> str | None:
    rates = sweeps.rates
    remedy = "raise lr_range.num_training or the batch size"
    if len(rates) < len(sweeps.curves):
        still = len(sweeps.curves) - len(rates)
        return f"the seeds disagree: the loss never fell in {still} of {len(sweeps.curves)} sweeps: {remedy}"
    if not outside(max(rates), min(rates), _MAX_SEED_RATIO):
        return None
    return (
        f"the seeds disagree: they suggest {', '.join(f'{rate:.3g}' for rate in rates)}, "
        f"x{max(rates) / min(rates):.1f} apart, and at most x{_MAX_SEED_RATIO:g} is allowed: {remedy}"
    )


def _edge(sweeps: _Sweeps) -> str | None:
    lowest, highest = sweeps.learning_rates[0], sweeps.learning_rates[-1]
    combined = combine(sweeps.rates)
    at = math.log(combined / lowest) / math.log(highest / lowest)
    where = f"of the range from {sweeps.span}"
    if at < _EDGE:
        return (
            f"the loss had made 75% of its drop at {combined:.3g}, in the first {_EDGE:.0%} {where}: "
            "lower lr_range.lr_min"
        )
    if at > 1 - _EDGE:
        return (
            f"the loss had made 75% of its drop only at {combined:.3g}, in the last {_EDGE:.0%} {where}: "
            "raise lr_range.lr_max"
        )
    if median(curve.minimum_at for curve in sweeps.curves) > 1 - _MINIMUM_EDGE:
        return f"the loss still falls at the end {where}, so its minimum is not known: raise lr_range.lr_max"
    return None


def _suggestion(sweeps: _Sweeps, refusal: str | None, *, retry: bool) -> Suggestion:
    logs = [math.log(rate) for rate in sweeps.rates]
    levels = [curve.initial_loss for curve in sweeps.curves if curve.initial_loss is not None]
    falls = [curve.drop / abs(curve.initial_loss) for curve in sweeps.curves if curve.initial_loss]
    return Suggestion(
        learning_rate=combine(sweeps.rates) if refusal is None else None,
        refusal=refusal,
        per_seed=tuple(curve.suggestion for curve in sweeps.curves),
        signal_to_noise=sweeps.signal_to_noise,
        log_sd=stdev(logs) if len(logs) > 1 else 0.0,
        initial_loss=median(levels) if levels else None,
        fractional_drop=median(falls) if falls else None,
        smoothed=tuple(curve.smoothed for curve in sweeps.curves),
        retry=retry,
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
