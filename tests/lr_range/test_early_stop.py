"""A sweep of the learning rate may stop early once it diverges, which changes no result."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from lr_curves import REAL, fall, real, sweep

from harness.lr_range.suggestion import diverged, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence


def stopped_early(losses: Sequence[float | None], num_training: int) -> list[float | None]:
    """Return the losses of a sweep that stops as soon as it may."""
    for step in range(len(losses)):
        if diverged(losses[: step + 1], num_training):
            return list(losses[: step + 1])
    return list(losses)


@pytest.mark.parametrize("name", sorted(REAL))
def test_stopping_early_does_not_change_the_suggestion(name: str) -> None:
    """Real sweeps give exactly the same suggestion when they stop at divergence."""
    rates, losses_per_seed = real(name)
    short = [stopped_early(losses, len(rates)) for losses in losses_per_seed]
    assert sum(map(len, short)) < sum(map(len, losses_per_seed))
    assert suggest(rates, losses_per_seed) == suggest(rates, short)


def test_what_follows_divergence_is_ignored() -> None:
    """After divergence, neither a loss that is not finite nor a new minimum changes anything."""
    rates = sweep()
    losses = fall(rates, 1e-4)
    expected = suggest(rates, [losses[:150] + [50.0] * 10])
    for tail in ([math.nan] * 40, [-50.0] * 40):
        assert expected == suggest(rates, [losses[:150] + [50.0] * 10 + tail])


# A plateau of 2 with a sigma of 0.5: the ceiling is 7.
PLATEAU = [2.0, 2.5, 1.5, 2.0, 2.5, 1.5, 2.0, 2.5, 1.5, 2.0]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ([], False),
        ([7.0] * 5, False),
        ([7.1] * 3, True),
        ([99.0] * 2, False),
        ([99.0] * 3, True),
        ([99.0, 2.0, 99.0, 2.0, 99.0], True),
        ([99.0, 2.0, 2.0, 99.0, 2.0], False),
        ([math.nan], True),
        ([None], True),
        ([math.inf], True),
    ],
)
def test_diverged_takes_three_of_five_losses(tail: list[float | None], *, expected: bool) -> None:
    """Three high losses among the last 5, or one that is not finite, are divergence."""
    assert expected == diverged([*PLATEAU, *tail], 120)


def test_diverged_needs_more_than_the_drop() -> None:
    """A loss that fell by 50 may rise to 50 above its plateau, but no further."""
    losses = [100.0, 101.0, 99.0, 100.0, 101.0, 99.0, 100.0, 101.0, 99.0, 100.0] + [50.0] * 5
    assert not diverged([*losses, *[150.0] * 5], 120)
    assert diverged([*losses, *[150.1] * 5], 120)


def test_diverged_allows_ten_sigma_of_noise() -> None:
    """Before any drop, the loss may rise by 10 standard deviations of the plateau's noise."""
    noise = random.Random(1)  # noqa: S311 - noise, not cryptography
    plateau = [noise.gauss(2, 0.1) for _ in range(100)]
    assert not diverged([*plateau, *[2.5] * 5], 1200)
    assert diverged([*plateau, *[3.5] * 5], 1200)


@pytest.mark.parametrize("losses", [[], [2.0], [2.0, 90.0, 90.0, 90.0, 90.0], [2.3] * 200])
def test_diverged_is_false_without_a_reason(losses: list[float]) -> None:
    """A sweep has not diverged on an incomplete plateau or on one that does not move at all."""
    assert not diverged(losses, 60)


def test_rounding_of_a_still_plateau_is_not_divergence() -> None:
    """When the noise is 0, a rise by float32's rounding does not stop the sweep."""
    assert not diverged([2.3] * 20 + [2.3 * (1 + 2**-22)] * 5, 120)


def test_low_precision_losses_have_noise() -> None:
    """A bfloat16 loss that mostly repeats itself may rise by one of its rounding steps."""
    losses = [2.3125] * 9 + [2.328125] + [2.3125] * 6
    assert not diverged([*losses, *[2.328125] * 5], 192)
