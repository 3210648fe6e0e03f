"""The learning-rate rule refuses for each reason, with its limit, its numbers and its remedy."""

from __future__ import annotations

import math
import random

import pytest
from lr_curves import DECADES, LR_MIN, at, centre_for, fall, refusal_of, sweep

from harness.lr_range.suggestion import suggest


@pytest.mark.parametrize("noise", [0.1, 0.15, 0.2, 0.24, 0.26, 0.3, 0.5, 1.0])
def test_noise_is_refused_below_a_ratio_of_four(noise: float) -> None:
    """Only a signal-to-noise ratio below 4 is refused."""
    rates = sweep()
    suggestion = suggest(rates, [fall(rates, 1e-3, noise=noise, seed=seed) for seed in range(3)])
    refused_for_noise = "signal-to-noise" in (suggestion.refusal or "")
    assert (suggestion.signal_to_noise < 4) == refused_for_noise


def test_noise_refusal_has_numbers_and_remedy() -> None:
    """The refusal gives the drop, the noise, the ratio, the limit and the remedy."""
    rates = sweep()
    suggestion = suggest(rates, [fall(rates, 1e-3, noise=1.0, seed=seed) for seed in range(3)])
    text = refusal_of(suggestion)
    assert f"signal-to-noise {suggestion.signal_to_noise:.2f}, at least 4 is needed" in text
    assert text.endswith("raise lr_range.num_training or the batch size")


@pytest.mark.parametrize("loss", [0.0, 2.3, -1.0])
def test_constant_loss_is_refused(loss: float) -> None:
    """A loss that never moves has no signal and no suggestion for any seed."""
    suggestion = suggest(sweep(), [[loss] * 200] * 3)
    assert "signal is lost in the noise" in refusal_of(suggestion)
    assert suggestion.signal_to_noise == 0.0
    assert suggestion.per_seed == (None, None, None)


def test_rising_loss_is_refused() -> None:
    """A loss that rises from the first step on is refused: lr_min is too high."""
    rates = sweep()
    suggestion = suggest(rates, [[1 + math.log10(rate / LR_MIN) for rate in rates]])
    assert refusal_of(suggestion).endswith("lower lr_range.lr_min")


@pytest.mark.parametrize("num_training", [60, 200])
@pytest.mark.parametrize("dip", [0.0, 0.02])
def test_flat_noisy_loss_is_noise_wherever_its_minimum_lies(num_training: int, dip: float) -> None:
    """A flat loss has no signal, also if its lowest values are the very first."""
    jitter = random.Random(0)  # noqa: S311 - noise, not cryptography
    losses = [2.3 + jitter.gauss(0, 0.02) for _ in range(num_training)]
    losses[0], losses[1] = min(losses) - dip, min(losses)
    suggestion = suggest(sweep(num_training), [losses])
    assert "signal is lost in the noise" in refusal_of(suggestion)
    assert suggestion.signal_to_noise < 4


@pytest.mark.parametrize("num_training", [120, 200, 400])
def test_noisy_loss_that_rises_from_the_start_asks_for_a_lower_start(num_training: int) -> None:
    """More steps would not help a loss that only rises: the range starts too high."""
    jitter = random.Random(1)  # noqa: S311 - noise, not cryptography
    losses = [2.3 + 2 * step / num_training + jitter.gauss(0, 0.02) for step in range(num_training)]
    suggestion = suggest(sweep(num_training), [losses])
    assert "the loss never fell, and had clearly risen at" in refusal_of(suggestion)
    assert refusal_of(suggestion).endswith("lower lr_range.lr_min")


@pytest.mark.parametrize(("ratio", "is_refused"), [(3.9, False), (4.1, True)])
def test_seeds_more_than_four_times_apart_are_refused(ratio: float, *, is_refused: bool) -> None:
    """Seeds whose suggestions are more than 4 times apart are refused."""
    rates = sweep(400)
    suggestion = suggest(rates, [fall(rates, centre) for centre in (1e-3, 1e-3, ratio * 1e-3)])
    assert is_refused == (suggestion.refusal is not None)
    if is_refused:
        assert "x4.1 apart, and at most x4 is allowed" in refusal_of(suggestion)


def test_a_seed_that_never_fell_is_refused() -> None:
    """A seed without a drop disagrees with the others."""
    rates = sweep()
    suggestion = suggest(rates, [fall(rates, 1e-3), [2.0] * 200, fall(rates, 1e-3)])
    assert "the loss never fell in 1 of 3 sweeps" in refusal_of(suggestion)
    assert suggestion.per_seed[1] is None


@pytest.mark.parametrize(
    ("fraction", "remedy"),
    [(0.08, "lr_range.lr_min"), (0.12, None), (0.88, None), (0.92, "lr_range.lr_max")],
)
def test_suggestion_near_an_end_of_the_range_is_refused(
    fraction: float, remedy: str | None
) -> None:
    """The 75% point may not lie in the first or the last 10% of the range."""
    rates = sweep(400)
    width = 0.02
    losses = fall(rates, centre_for(at(fraction), width), width=width)
    suggestion = suggest(rates, [losses])
    assert (None if remedy is None else remedy) == (
        None if suggestion.refusal is None else suggestion.refusal.rsplit(" ", 1)[1]
    )


def test_minimum_at_the_end_of_the_range_is_refused() -> None:
    """A loss that falls to the end is refused, even if its 75% point is far from the end."""
    rates = sweep()
    suggestion = suggest(rates, [[2 - math.log10(rate / LR_MIN) / DECADES for rate in rates]])
    text = refusal_of(suggestion)
    assert "still falls at the end of the range from 1e-06 to 10" in text
    assert text.endswith("raise lr_range.lr_max")
    assert suggestion.per_seed[0] is not None
    assert suggestion.per_seed[0] < at(0.8)


def test_minimum_at_the_end_of_a_sweep_that_diverged_is_accepted() -> None:
    """A loss that falls until it is not finite is accepted: the range goes further."""
    rates = sweep()
    losses = [
        loss if rate < 1e-2 else math.nan
        for rate, loss in zip(rates, fall(rates, 1e-3), strict=True)
    ]
    assert suggest(rates, [losses]).refusal is None


@pytest.mark.parametrize(
    ("num_finite", "is_refused"), [(0, True), (1, True), (29, True), (30, False)]
)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_not_finite_before_30_steps_is_refused(
    num_finite: int, bad: float | None, *, is_refused: bool
) -> None:
    """The first 30 losses must be finite; the refusal gives the step, from 1, and its rate."""
    rates = sweep(60)
    # The fall is complete within 30 of the 60 steps.
    losses = fall(rates, 1e-5, width=0.1)
    broken: list[float | None] = [*losses[:num_finite], bad, *losses[num_finite + 1 :]]
    suggestion = suggest(rates, [losses, broken])
    text = suggestion.refusal or ""
    assert is_refused == (
        f"the loss of sweep 2 of 2 was not finite at step {num_finite + 1}, at a learning rate of "
        f"{rates[num_finite]:.3g}, and the first 30 must be" in text
    )


def test_not_finite_in_every_sweep_has_no_initial_loss() -> None:
    """Without any finite loss, only the refusal is given."""
    suggestion = suggest(sweep(), [[math.nan], [None]])
    assert "sweep 1 of 2 was not finite at step 1" in refusal_of(suggestion)
    assert (suggestion.initial_loss, suggestion.fractional_drop) == (None, None)
    assert suggestion.smoothed == ((), ())


@pytest.mark.parametrize(("num_training", "is_refused"), [(1, True), (9, True), (10, False)])
def test_fewer_than_ten_steps_are_refused(num_training: int, *, is_refused: bool) -> None:
    """A sweep needs at least 10 steps."""
    rates = [10.0**-step for step in range(num_training, 0, -1)]
    text = suggest(rates, [[1.0] * num_training]).refusal or ""
    assert is_refused == ("at least 10 are needed" in text or "never moved" in text)


def test_a_seed_without_losses_is_refused() -> None:
    """A seed without any loss has too few steps."""
    rates = sweep()
    text = refusal_of(suggest(rates, [fall(rates, 1e-3), []]))
    assert "a sweep has only 0 usable steps of 200" in text


def test_learning_rate_that_never_moved_is_refused() -> None:
    """Equal learning rates are refused, because something else sets them."""
    suggestion = suggest([1e-3] * 200, [fall(sweep(), 1e-3)] * 3)
    assert "the learning rate never moved: it was 0.001 in all 200 steps" in refusal_of(suggestion)
    assert suggestion.per_seed == (None, None, None)
