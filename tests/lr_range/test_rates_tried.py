"""The rates that are tried for one seed: from the start to both ends of the usable ones."""

from __future__ import annotations

import pytest
from loss_surfaces import Valley

from harness.lr_range.search import OutOfStepsError, TrialSearch
from harness.lr_range.trials import Trials, rate_at


def search(valley: Valley, *, max_steps: int = 10_000, lr_max: float = 10.0) -> TrialSearch:
    """Return a search with a horizon of 20."""
    return TrialSearch(valley.trial, 20, 1e-6, lr_max, max_steps)


def rates(valley: Valley) -> list[float]:
    """Return the rates that were tried, in their order."""
    return [float(f"{rate:.3g}") for _, _, rate, _ in valley.asked]


def test_tries_go_out_from_the_start_by_half_decades() -> None:
    """First up, then down, until both neighbours of the usable rates are known."""
    valley = Valley()
    found = search(valley).explore(0, 0.01)
    assert (True, (-8, -4)) == (found.is_closed, found.usable())
    assert [0.01, 0.0316, 0.1, 0.316, 0.00316] == rates(valley)


@pytest.mark.parametrize("start", [1e-6, 1e-4, 1e-3, 0.02, 0.3, 3.0, 10.0])
def test_the_range_does_not_depend_on_the_start(start: float) -> None:
    """The grid is fixed, so all starts end with the same points around the best.

    Only the initial loss is read from the lowest rate that was tried.
    """
    expected = search(Valley()).explore(0, 0.03)
    found = search(Valley()).explore(0, start)
    assert (expected.usable(), expected.best) == (found.usable(), found.best)
    assert expected.range().middle == pytest.approx(found.range().middle, abs=0.05)


def test_points_of_another_seed_are_tried_first() -> None:
    """Where they tell this seed's range, too, nothing else is tried."""
    valley = Valley()
    one = search(valley)
    points = one.explore(0, 0.01).telling()
    tried = len(valley.asked)
    assert one.explore(1, points).is_closed
    assert [rate_at(point) for point in points] == [rate for _, _, rate, _ in valley.asked[tried:]]


def test_quarter_decades_are_tried_where_one_rate_alone_is_usable() -> None:
    """Else the middle would jump by half a decade with the noise."""
    valley = Valley(drop_at=0.6, cliff=0.11)
    found = search(valley).explore(0, 0.1)
    assert {-5, -3} < set(found.losses)


def test_control_is_tried_where_the_noise_of_the_first_losses_matters() -> None:
    """It is the lowest rate of the range."""
    quiet, noisy = Valley(), Valley(noise=0.2)
    search(quiet).explore(0, 0.03)
    search(noisy).explore(0, 0.03)
    assert (False, True) == tuple(
        any(rate == pytest.approx(1e-6) for _, _, rate, _ in one.asked) for one in (quiet, noisy)
    )


def test_shared_noise_does_not_move_the_range() -> None:
    """The batches are the same for all rates, and so is their noise."""
    expected = search(Valley()).explore(0, 0.03).range().middle
    found = [search(Valley(noise=0.1)).explore(seed, 0.03).range().middle for seed in range(5)]
    assert [expected] * 5 == pytest.approx(found, abs=0.3)


def test_nothing_that_learns_ends_the_search() -> None:
    """A loss that never falls is tried up to where it rises."""
    valley = Valley(lowest_loss=2.0, cliff=0.01)
    found = search(valley).explore(0, 1e-3)
    assert (False, True) == (found.has_signal, len(valley.asked) < 10)


def test_steps_are_counted_as_they_were_taken() -> None:
    """A trial that diverges takes fewer than its horizon."""
    valley = Valley()
    one = search(valley)
    one.explore(0, 0.03)
    taken = sum(len(losses) for trials in one.seeds.values() for losses in trials.losses.values())
    assert taken == one.steps
    assert one.steps < 20 * len(valley.asked)


def test_no_trial_begins_that_would_exceed_the_steps() -> None:
    """What was tried so far is kept."""
    one = search(Valley(), max_steps=45)
    with pytest.raises(OutOfStepsError):
        one.explore(0, 0.03)
    assert (2, 40) == (len(one.seeds[0].losses), one.steps)


def test_rates_beyond_the_range_are_not_tried() -> None:
    """The highest point is within lr_max, also where that is no point of the grid."""
    valley = Valley(drop_at=10.0, cliff=100.0)
    one = search(valley, lr_max=0.2)
    found = one.explore(0, 0.03)
    assert (-3, -3) == (one.highest, max(found.losses))
    assert not found.is_closed


def test_start_outside_of_the_range_begins_at_its_end() -> None:
    """A locked rate may lie outside after lr_max was lowered."""
    valley = Valley()
    search(valley, lr_max=0.1).explore(0, 5.0)
    assert 0.1 == rates(valley)[0]


def test_trials_of_a_seed_are_continued() -> None:
    """What was tried is not tried again."""
    valley = Valley()
    first = Trials(20, -24, {-6: tuple(valley.losses(0, [rate_at(-6)] * 20))})
    one = search(valley)
    one.seeds[0] = first
    one.explore(0, 0.03)
    assert 0.0316 not in rates(valley)
