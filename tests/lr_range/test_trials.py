"""The trials of one seed: their losses, what is lost at a rate, and what they say together."""

from __future__ import annotations

import math

import pytest

from harness.lr_range.trials import AS_GOOD, USABLE, Trials, can_stop, point_of, rate_at

HORIZON = 10
CONTROL = -24


def flat(initial: float, later: float) -> tuple[float, ...]:
    """Return losses with one value in the first half of the steps, and one in the second."""
    return (initial,) * (HORIZON // 2) + (later,) * (HORIZON - HORIZON // 2)


def trials(**losses: float) -> Trials:
    """Return trials from 2, by `p3=1.5` (point 3) and `m4=1.0` (point -4)."""
    by_point = {
        (-1 if name[0] == "m" else 1) * int(name[1:]): flat(2.0, loss)
        for name, loss in losses.items()
    }
    return Trials(HORIZON, CONTROL, by_point)


@pytest.mark.parametrize(("point", "rate"), [(0, 1.0), (-4, 0.1), (-24, 1e-6), (2, math.sqrt(10))])
def test_four_points_are_a_decade(point: int, rate: float) -> None:
    """Points and rates are turned into each other."""
    assert (rate, point) == pytest.approx((rate_at(point), point_of(rate)))


@pytest.mark.parametrize(
    ("losses", "ceiling", "expected"),
    [
        ((), 3.0, False),
        ((1.0, math.nan), None, True),
        ((1.0, math.inf), None, True),
        ((9.0,) * 4, 3.0, False),
        ((9.0,) * 5, 3.0, True),
        ((3.0,) * 5, 3.0, False),
        ((1.0, 9.0, 9.0, 9.0, 1.0), 3.0, True),
        ((1.0, 1.0, 9.0, 9.0, 1.0), 3.0, False),
        ((9.0,) * 5, None, False),
    ],
)
def test_trial_stops_where_it_diverged(
    losses: tuple[float, ...], ceiling: float | None, *, expected: bool
) -> None:
    """Once a loss is not finite, or the median of the last five exceeds the ceiling."""
    assert expected == can_stop(losses, ceiling)


def test_loss_is_the_mean_of_the_second_half() -> None:
    """The first half is where all trials are alike."""
    found = Trials(6, CONTROL, {0: (9.0, 9.0, 9.0, 1.0, 2.0, 6.0)})
    assert 3.0 == found.loss(0)


@pytest.mark.parametrize(
    "losses", [(1.0,) * 9, (1.0,) * 9 + (math.inf,), (1.0,) * 9 + (math.nan,), ()]
)
def test_loss_of_a_trial_that_diverged_is_infinite(losses: tuple[float, ...]) -> None:
    """One that was stopped, or whose last loss is not finite, has no other."""
    assert math.inf == Trials(HORIZON, CONTROL, {0: losses}).loss(0)


def test_lost_is_the_share_of_the_best_drop_that_is_missing() -> None:
    """The best lacks nothing, no drop lacks all, and so does what diverged."""
    found = trials(m4=1.0, m6=1.25, m8=2.0, m2=2.5)
    found.losses[0] = (2.0, math.nan)
    assert [0.0, 0.25, 1.0, 1.0, 1.0] == [found.lost(point) for point in (-4, -6, -8, -2, 0)]


def test_everything_is_lost_without_a_drop() -> None:
    """Where no trial came below the initial loss, none is better than another."""
    assert [1.0, 1.0] == [trials(m4=2.0, m6=2.5).lost(point) for point in (-4, -6)]


def test_the_control_tells_the_initial_loss() -> None:
    """Without it, the first three losses of the lowest rate do."""
    found = Trials(HORIZON, CONTROL, {0: (1.0, 2.0, 3.0, 4.0, *[1.0] * 6)})
    without = found.initial_loss
    found.losses[CONTROL] = flat(1.0, 5.0)
    assert (2.0, 5.0) == (without, found.initial_loss)


def test_noise_that_trials_share_is_no_noise() -> None:
    """Batches move the losses of the best trial and the control alike, so the drop is certain."""
    wild = [math.sin(7.0 * step) for step in range(HORIZON)]
    shared = Trials(HORIZON, CONTROL, {CONTROL: tuple(3 + one for one in wild)})
    shared.losses[-4] = tuple(2 + one for one in wild)
    alone = Trials(HORIZON, CONTROL, {-4: shared.losses[-4], -8: shared.losses[CONTROL]})
    assert (True, True, False) == (
        alone.needs_control,
        shared.has_signal,
        shared.needs_control,
    )
    assert 1e4 < alone.noise / shared.noise


def test_a_drop_within_its_noise_is_no_signal() -> None:
    """The noise is that of the difference between the best trial and the control."""
    wild = [math.sin(7.0 * step) for step in range(HORIZON)]
    found = Trials(HORIZON, CONTROL, {CONTROL: (2.0,) * HORIZON})
    found.losses[-4] = tuple(1.9 + one for one in wild)
    assert (False, True) == (found.has_signal, found.too_short)


@pytest.mark.parametrize(("lower", "expected"), [(1.2, False), (1.79, False), (1.81, True)])
def test_horizon_is_too_short_where_training_has_only_just_begun(
    lower: float, *, expected: bool
) -> None:
    """At half a decade below the best, a fifth of the drop must have happened."""
    assert expected == trials(m4=1.0, m6=lower, m8=2.0, m2=2.0).too_short


def test_usable_rates_lie_around_the_best() -> None:
    """They lack less than 30% of the drop; what lies behind one that lacks more does not count."""
    found = trials(m10=1.1, m8=1.5, m6=1.2, m4=1.0, m2=1.29, p0=1.31)
    assert ((-6, -2), True) == (found.usable(), found.is_closed)


@pytest.mark.parametrize("missing", ["m6", "m2"])
def test_range_is_open_without_a_trial_beyond(missing: str) -> None:
    """Both neighbours of the usable rates are needed."""
    losses = {"m6": 1.9, "m4": 1.0, "m2": 1.9}
    assert not trials(**{name: loss for name, loss in losses.items() if name != missing}).is_closed


def test_middle_of_symmetric_losses_is_the_best() -> None:
    """And the ends are where as much is lost as is as good, linear between two points."""
    found = trials(m6=1.5, m4=1.0, m2=1.5).range()
    width = 2 * AS_GOOD / 0.5
    assert (-4.0, -4 - width, -4 + width) == pytest.approx(
        (found.middle, found.lowest, found.highest)
    )


def test_middle_leans_to_where_more_is_usable() -> None:
    """A gentle slope below the best and a cliff above it put the middle below the best."""
    found = trials(m10=1.6, m8=1.25, m6=1.1, m4=1.0, m2=2.0).range()
    assert -6.5 < found.middle < -4.5
    assert found.lowest <= found.middle <= found.highest


def test_middle_does_not_depend_on_what_lies_far_away() -> None:
    """Only the usable points and their neighbours tell it."""
    near = trials(m6=1.5, m4=1.0, m2=1.6)
    far = trials(m12=1.9, m8=1.7, m6=1.5, m4=1.0, m2=1.6, p0=2.0)
    assert near.range() == far.range()


def test_middle_is_that_of_the_integral() -> None:
    """The weight at a rate is how far it is from unusable; here one side is twice as wide."""
    found = trials(m8=1.6, m4=1.0, m2=1.6).range()
    # Two triangles of the height 0.3: their tips reach 2 and 1 points from the best.
    below, above = 2.0, 1.0
    expected = -4 + (above**2 / 6 - below**2 / 6) / ((above + below) / 2)
    assert expected == pytest.approx(found.middle, abs=0.05)


def test_another_seed_needs_the_points_that_tell_the_range() -> None:
    """The middle, the ends of the usable ones, and their neighbours."""
    found = trials(m14=2.0, m12=1.6, m10=1.2, m8=1.1, m6=1.0, m4=1.1, m2=1.4, p0=2.0)
    assert [-6, -10, -4, -12, -2] == found.telling()


def test_ceiling_leaves_room_for_a_start_that_overshoots() -> None:
    """It is above the initial loss by as much as that loss itself, or more with a larger drop."""
    assert (4.0, None) == (trials(m4=1.0, m6=2.0).ceiling, Trials(HORIZON, CONTROL).ceiling)


def test_usable_share_is_larger_than_what_is_as_good() -> None:
    """Else the middle could lie outside of its own range."""
    assert AS_GOOD < USABLE
