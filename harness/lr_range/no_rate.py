"""Words for a range test without a learning rate: what was seen, and what would make it work."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from harness.lr_range.ratio import ratio
from harness.lr_range.trials import MIN_SIGNAL_TO_NOISE, USABLE, rate_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lr_range.trials import Trials

_SHOWN = 9


def too_few_steps(max_steps: int, needed: int) -> str:
    """Return the reason where the steps are too few for the trials of one seed."""
    return (
        f"the range test may take {max_steps} steps (lr_range.num_training x the number of seeds),"
        f" and the trials of one seed need at least {needed}: raise lr_range.num_training"
    )


def out_of_steps(trials: Trials, max_steps: int) -> str:
    """Return the reason where the steps were used up before the range of one seed was known."""
    return (
        f"the range test took its {max_steps} steps (lr_range.num_training x the number of seeds)"
        f" before it knew the range of its first seed ({_seen(trials)}): raise"
        f" lr_range.num_training, or lower lr_range.horizon, which is {trials.horizon}"
    )


def and_out_of_steps(refusal: str, max_steps: int) -> str:
    """Return the reason where the steps were used up before a longer horizon could tell more."""
    return (
        f"{refusal}; longer trials were not possible, because the range test took its {max_steps}"
        " steps (lr_range.num_training x the number of seeds): raise lr_range.num_training, too"
    )


def one_seed(too_short_for: int, horizon: int, max_steps: int) -> str:
    """Return the reason where a longer horizon was needed, and told the range of one seed only."""
    return (
        f"trials of {too_short_for} steps were too short, and for those of {horizon} the"
        f" {max_steps} steps of the range test (lr_range.num_training x the number of seeds) were"
        " enough for one seed only, which no other confirms: raise lr_range.num_training"
    )


def too_short(trials: Trials, horizons: Sequence[int]) -> str:
    """Return the reason where the trials of a seed say nothing, at any of the horizons."""
    tried = f"in trials of {', '.join(map(str, horizons))} steps"
    if trials.has_signal:
        return (
            f"training has only just begun at {rate_at(trials.best):.2g}, and hardly at lower rates"
            f" that may do as well, {tried} ({_seen(trials)}): raise lr_range.horizon"
        )
    if not isfinite(trials.initial_loss):
        return (
            f"the loss is not finite at a learning rate of {rate_at(min(trials.losses)):.3g},"
            f" {tried}: check the loss and the precision, or lower lr_range.lr_min"
        )
    if trials.learns_at_control:
        return open_below(trials, rate_at(trials.control))
    rates = [point for point in trials.losses if point != trials.control]
    if rates and all(trials.is_worse(point) for point in rates):
        return (
            f"the loss rose at every learning rate that was tried, {tried} ({_seen(trials)}): lower"
            " lr_range.lr_min if the workload learns at smaller ones, and see whether the loss is"
            " what training makes smaller"
        )
    if trials.drop <= trials.noise:
        return (
            f"the loss never fell, {tried} ({_seen(trials)}): raise lr_range.horizon if the"
            " workload learns more slowly, and see whether the optimizer has the parameters"
        )
    return (
        f"the signal is lost in the noise, {tried}: at best the loss fell by {trials.drop:.3g},"
        f" where chance alone moves it by {trials.noise:.3g} (signal-to-noise"
        f" {trials.signal_to_noise:.2f}, at least {MIN_SIGNAL_TO_NOISE:g} is needed;"
        f" {_seen(trials)}): raise lr_range.horizon, or the batch size"
    )


def open_above(trials: Trials, lr_max: float, beyond: tuple[float, float] | None) -> str:
    """Return the reason where training is still as good at the upper end of the range.

    beyond: an `lr_max` that was tried too, and the rate that it would give.
    """
    if beyond is not None:
        return (
            f"training is as good at lr_range.lr_max, {lr_max:.3g} ({_seen(trials)}), so the rate"
            f" may be higher: with lr_range.lr_max: {beyond[0]:.3g}, which was tried too, this seed"
            f" gives {beyond[1]:.3g}"
        )
    return (
        f"training is as good at lr_range.lr_max, {lr_max:.3g}, and further up"
        f" ({_seen(trials)}): raise lr_range.lr_max, or see whether the optimizer follows the rate"
    )


def open_below(trials: Trials, lr_min: float) -> str:
    """Return the reason where training is as good at the lower end of the range."""
    return (
        f"training is as good at lr_range.lr_min, {lr_min:.3g} ({_seen(trials)}; at both ends of"
        f" its range it must lack {USABLE:.0%} of the best drop): lower lr_range.lr_min, or see"
        " whether the optimizer follows the rate"
    )


def disagreement(rates: Sequence[float], horizon: int, max_ratio: float) -> str:
    """Return the reason where the seeds' rates lie too far apart."""
    shown = ", ".join(f"{rate:.3g}" for rate in rates)
    return (
        f"the seeds disagree: over {horizon} steps they suggest {shown}, x{ratio(max(rates), min(rates)):.1f} apart, and"
        f" at most x{max_ratio:g} is allowed: raise lr_range.horizon or the batch size"
    )


def disagreement_of_sweeps(strategy: str, rates: Sequence[float], max_ratio: float) -> str:
    """Return the reason where a strategy reads rates too far apart off the sweeps of the seeds."""
    shown = ", ".join(f"{rate:.3g}" for rate in rates)
    return (
        f"the seeds disagree: strategy {strategy} reads {shown} off their sweeps,"
        f" x{ratio(max(rates), min(rates)):.1f} apart, and at most x{max_ratio:g} is allowed: raise"
        " lr_range.num_training or the batch size, or take another lr_range.strategy"
    )


def no_reading(strategy: str, seed: int, reason: str) -> str:
    """Return the reason where a strategy reads nothing off the sweep of a seed."""
    return f"strategy {strategy} reads no learning rate off the sweep with seed {seed}: {reason}"


def no_positive_number(value: float) -> str:
    """Return the reason where a strategy gives what is no learning rate."""
    return f"it gives {value:g}, and a finite number above 0 is needed"


def outside_of_sweep(rate: float, lr_min: float, lr_max: float) -> str:
    """Return the reason where a strategy gives a rate that its sweep did not try."""
    end = "lower lr_range.lr_min" if rate < lr_min else "raise lr_range.lr_max"
    return (
        f"it gives {rate:.3g}, outside of the sweep from {lr_min:.3g} to {lr_max:.3g}: {end} if"
        " training bears such a rate"
    )


def not_usable(strategy: str, rate: float, lost: float, limit: float, trials: Trials) -> str:
    """Return the reason where trials contradict what a strategy reads off sweeps."""
    return (
        f"{slower(strategy, rate, lost, trials)} (at most {limit:.0%} is allowed there;"
        f" {_seen(trials)}): take another lr_range.strategy, such as drop, or raise"
        " lr_range.num_training"
    )


def slower(strategy: str, rate: float, lost: float, trials: Trials) -> str:
    """Return by how much training falls behind at what a strategy reads off sweeps."""
    ends = trials.range()
    return (
        f"strategy {strategy} gives {rate:.3g}, at which trials of {trials.horizon} steps lack"
        f" {lost:.0%} of the best drop; the best are from {rate_at(ends.lowest):.3g} to"
        f" {rate_at(ends.highest):.3g}"
    )


def _seen(trials: Trials) -> str:
    """Return the losses of the trials in words, from the lowest rate up."""
    points = sorted(trials.losses)
    shown = points if len(points) <= _SHOWN else [*points[: _SHOWN - 1], points[-1]]
    losses = ", ".join(
        f"{loss:.4g} at {rate_at(point):.2g}"
        if isfinite(loss := trials.loss(point))
        else f"diverged at {rate_at(point):.2g}"
        for point in shown
    )
    return f"loss {losses}"
