"""Longer horizons: when the range test tries them, and what it takes where its steps end."""

from __future__ import annotations

import pytest
from loss_surfaces import Valley
from range_tests import rate_of, run


@pytest.mark.parametrize(("max_steps", "horizon"), [(5000, 80), (500, 20), (250, 20)])
def test_seeds_apart_are_tried_for_longer_while_there_are_steps(
    max_steps: int, horizon: int
) -> None:
    """Between x2 and x4 apart; where steps end before two seeds, the shorter horizon is taken."""
    found = run(Valley(moved={1: 10**0.5}), (0, 1), max_steps=max_steps)
    assert (horizon, None) == (found.horizon, found.refusal)


@pytest.mark.parametrize(("factor", "refused"), [(10**0.5, False), (10.0, True)])
def test_seeds_apart_keep_a_locked_horizon(factor: float, *, refused: bool) -> None:
    """A refusal then brings further seeds, before it fails anything."""
    found = run(Valley(moved={1: factor}), (0, 1), locked_rate=0.3, max_steps=5000)
    assert (20, refused, refused) == (found.horizon, found.disagreement, found.found is None)


def test_seeds_far_apart_are_refused_after_longer_horizons() -> None:
    """More than x4 apart they say nothing together."""
    valley = Valley(moved={0: 0.1, 1: 1.0, 2: 10.0})
    found = run(valley, max_steps=50_000)
    assert (None, True) == (found.found, found.disagreement)
    assert "the seeds disagree: over 80 steps they suggest" in (found.refusal or "")


def test_a_horizon_that_is_too_short_is_doubled() -> None:
    """Where hardly anything has happened after so many steps, twice as many tell more."""
    slow = Valley(drop_at=2.0, cliff=0.11, steepness=3.0)
    found = run(slow, max_steps=20_000)
    assert (80, True) == (found.horizon, 0.03 < rate_of(found) < 0.1)
    assert {20, 40, 80} == {steps for kind, *_, steps in slow.asked if kind == "trial"}


@pytest.mark.parametrize(("seeds", "refused"), [((0, 1), True), ((0,), False)])
def test_one_of_several_seeds_is_not_enough_at_a_longer_horizon(
    seeds: tuple[int, ...], *, refused: bool
) -> None:
    """What leaves a plateau is left by chance; a single seed that was asked for is."""
    slow = Valley(drop_at=1.5, cliff=0.11, steepness=3.0)
    found = run(slow, seeds, max_steps=400)
    assert (40, refused) == (found.horizon, found.found is None)
    told = "for those of 40 the 400 steps of the range test" in (found.refusal or "")
    assert refused == told


def test_training_that_has_only_just_begun_is_refused_in_the_end() -> None:
    """At four times the horizon, lower rates may still do as well in a few steps more."""
    found = run(Valley(drop_at=8.0, cliff=0.11, steepness=3.0), max_steps=20_000)
    assert found.found is None
    assert "training has only just begun at 0.1" in (found.refusal or "")


def test_a_locked_horizon_is_long_enough_while_the_loss_falls() -> None:
    """Else chance near the border would change what is compared."""
    just = Valley(drop_at=1.5, cliff=0.11, steepness=3.0)
    cold, warm = run(just, max_steps=5000), run(just, locked_rate=0.1, max_steps=5000)
    assert (40, 20) == (cold.horizon, warm.horizon)


def test_few_steps_shorten_the_horizon() -> None:
    """So that the trials of one seed fit; the result says so."""
    assert (70 // 7, True) == ((found := run(Valley(), max_steps=70)).horizon, found.steps <= 70)


def test_steps_that_end_at_a_longer_horizon_are_refused_for_the_shorter_one() -> None:
    """What its trials said, and that there were no steps for longer ones."""
    slow = Valley(drop_at=2.0, cliff=0.11, steepness=3.0)
    found = run(slow, max_steps=200)
    refusal = found.refusal or ""
    assert (20, True, True) == (
        found.horizon,
        "training has only just begun at 0.1, and hardly at lower rates" in refusal,
        refusal.endswith("the number of seeds): raise lr_range.num_training, too"),
    )
