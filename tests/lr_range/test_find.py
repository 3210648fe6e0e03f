"""The range test as a whole: one learning rate and its range, whatever the number of steps."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
from loss_surfaces import Breaking, Valley
from range_tests import SEEDS, limits, rate_of, run

from harness.lr_range.find import LearningRateSearch, NoLossesError, OutOfTimeError
from harness.lr_range.found import Found
from harness.lr_range.trials import RateRange, rate_at


def kinds(valley: Valley) -> list[tuple[str, int]]:
    """Return kind and seed of each training, repetitions left out."""
    return list(dict.fromkeys((kind, seed) for kind, seed, _, _ in valley.asked))


def test_a_sweep_finds_the_decade_and_trials_the_rate() -> None:
    """The rate lies below the cliff, where the loss falls within the horizon."""
    valley = Valley()
    found = run(valley)
    assert [("sweep", 0), ("trial", 0), ("trial", 1)] == kinds(valley)
    assert 0.02 < rate_of(found) < 0.1
    assert (20, 2) == (found.horizon, len(found.trials))


@pytest.mark.parametrize("max_steps", [300, 600, 1200, 2400])
def test_the_rate_does_not_depend_on_the_number_of_steps(max_steps: int) -> None:
    """More steps only leave more of them over."""
    assert rate_of(run(Valley(), max_steps=10_000)) == pytest.approx(
        rate_of(run(Valley(), max_steps=max_steps)), rel=0.02
    )


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("max_steps", [60, 150, 300, 600])
@pytest.mark.parametrize("drop_at", [0.01, 0.1, 3.0, 100.0])
def test_no_more_steps_are_taken_than_allowed(drop_at: float, max_steps: int, noise: float) -> None:
    """Sweep, trials, longer horizons: all count."""
    valley = Valley(drop_at=drop_at, noise=noise)
    found = run(valley, max_steps=max_steps)
    assert found.steps <= max_steps
    assert found.steps <= sum(steps for *_, steps in valley.asked)


@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
def test_the_rate_follows_the_training(factor: float) -> None:
    """A loss that is scaled so that all rates move by a factor moves the suggestion by it."""
    expected = factor * rate_of(run(Valley()))
    assert expected == pytest.approx(
        rate_of(run(Valley(drop_at=0.1 * factor, cliff=0.1 * factor))), rel=0.05
    )


def test_a_locked_rate_whose_loss_is_never_finite_leads_down() -> None:
    """Losses that are not finite tell nothing of the loss without training: the control does."""
    found = run(Breaking(cliff=1e-3, drop_at=1e-2), locked_rate=0.3)
    assert 1e-4 < rate_of(found) < 2e-3


def test_a_loss_that_is_never_finite_takes_one_step_at_each_rate() -> None:
    """Where not even the control has a finite loss, no other rate is tried."""
    found = run(Breaking(cliff=0.0), locked_rate=0.3)
    assert "the loss is not finite at a learning rate of 1e-06" in (found.refusal or "")
    (trials,) = found.trials.values()
    assert [0.316, 1e-6] == [pytest.approx(rate_at(point), rel=1e-2) for point in trials.losses]


def test_a_training_that_has_learned_in_three_steps_has_a_control() -> None:
    """The loss without training lies far above its first losses, and is no divergence."""
    found = run(Valley(drop_at=0.02, lowest_loss=0.0, noise=0.06), locked_rate=0.1)
    (trials, *_) = found.trials.values()
    assert trials.control in trials.losses
    assert pytest.approx(2.0, rel=0.05) == trials.initial_loss


def test_seeds_that_agree_end_the_test() -> None:
    """The second one is enough; the rate is their mean in log space."""
    found = run(Valley())
    assert found.found is not None
    assert 2 == len(found.found.per_seed)
    assert math.exp(fmean(map(math.log, found.found.per_seed))) == pytest.approx(rate_of(found))


def test_seeds_that_do_not_agree_bring_the_next() -> None:
    """All of them, where each says something else."""
    found = run(Valley(moved={0: 0.7, 1: 1.0, 2: 1.4}), max_steps=5000)
    assert found.found is not None
    assert 3 == len(found.found.per_seed)
    assert found.found.lowest <= min(found.found.per_seed)
    assert max(found.found.per_seed) <= found.found.highest


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [(-0.1, 0.1, 1.5), (-1.0, 1.0, 10**0.25), (-9.0, 9.0, 2.2)],
)
def test_range_is_no_narrower_than_chance_and_no_wider_than_what_shows(
    lowest: float, highest: float, expected: float
) -> None:
    """Between x1.5 and x2.2 to each side; points are quarter decades."""
    found = Found.of([RateRange(0.0, lowest, highest)])
    assert (1 / expected, 1.0, expected) == pytest.approx(
        (found.lowest, found.learning_rate, found.highest)
    )


def test_range_holds_the_rate_of_every_seed() -> None:
    """Else one of the seeds that locked it would fail it."""
    found = Found.of([RateRange(-2.0, -2.5, -1.5), RateRange(0.0, -0.5, 0.5)])
    assert (10**-0.5, 1.0) == pytest.approx((found.lowest, found.highest))


def test_a_locked_rate_spares_the_sweep_and_needs_one_seed() -> None:
    """A first seed near it confirms it."""
    expected = rate_of(run(Valley()))
    valley = Valley()
    found = run(valley, locked_rate=1.2 * expected)
    assert [("trial", 0)] == kinds(valley)
    assert expected == pytest.approx(rate_of(found), rel=0.02)
    assert ((), ()) == (found.learning_rates, found.losses)


@pytest.mark.parametrize("factor", [1e-3, 0.3, 3.0, 1e3])
def test_a_locked_rate_that_is_wrong_does_not_move_the_answer(factor: float) -> None:
    """The search leaves it, and further seeds are tried."""
    expected = rate_of(run(Valley()))
    found = run(Valley(), locked_rate=factor * expected, max_steps=5000)
    assert expected == pytest.approx(rate_of(found), rel=0.05)
    assert found.found is not None
    assert 2 == len(found.found.per_seed)


def test_what_the_same_seed_suggested_confirms_it_too() -> None:
    """Also where the locked rate, of all seeds, is far from it."""
    expected = rate_of(run(Valley()))
    valley = Valley()
    search = LearningRateSearch(valley, limits(), 1.4 * expected, (1.4 * expected, expected))
    assert search.run(SEEDS).found is not None
    assert [("trial", 0)] == kinds(valley)


def test_nothing_that_falls_is_refused_with_what_was_seen() -> None:
    """At all three horizons."""
    found = run(Valley(lowest_loss=2.0), max_steps=5000)
    assert found.found is None
    assert "the loss never fell, in trials of 20, 40, 80 steps (loss 2 at" in (found.refusal or "")


def test_too_few_steps_are_refused_before_anything_is_trained() -> None:
    """The reason says how many are needed."""
    valley = Valley()
    found = run(valley, max_steps=34)
    assert [] == valley.asked
    assert "the trials of one seed need at least 35" in (found.refusal or "")


def test_steps_that_end_leave_the_seeds_that_are_done() -> None:
    """A seed that is not finished does not count."""
    whole = run(Valley(), seeds=(0,)).steps
    found = run(Valley(moved={1: 1.3}), max_steps=whole + 50)
    assert found.found is not None
    assert (1, [0]) == (len(found.found.per_seed), list(found.trials))


def test_steps_that_end_in_the_first_seed_are_refused() -> None:
    """What was seen is told, and what to raise."""
    found = run(Valley(drop_at=0.01, cliff=1.0), max_steps=90, horizon=12)
    assert found.found is None
    assert "the range test took its 90 steps" in (found.refusal or "")


def test_a_range_that_reaches_lr_max_is_refused_with_what_a_decade_more_gives() -> None:
    """It was tried, so the reason has the number."""
    valley = Valley()
    found = run(valley, lr_max=0.03, max_steps=5000)
    assert found.found is None
    refusal = found.refusal or ""
    assert "training is as good at lr_range.lr_max, 0.03" in refusal
    assert "with lr_range.lr_max: 0.3, which was tried too, this seed gives 0.0" in refusal


def test_a_range_that_reaches_lr_min_is_refused() -> None:
    """A lower end must be known."""
    found = run(Valley(drop_at=1e-3, cliff=0.1), lr_min=1e-3, max_steps=5000)
    assert found.found is None
    assert "training is as good at lr_range.lr_min, 0.001" in (found.refusal or "")


class Broken(Valley):
    """A training that fails with some seeds."""

    failing: frozenset[int] = frozenset()
    error: type[NoLossesError] = NoLossesError

    def trial(
        self, seed: int, learning_rate: float, num_steps: int, ceiling: float | None
    ) -> list[float]:
        """Fail, or train."""
        if seed in self.failing:
            raise self.error("it broke")
        return super().trial(seed, learning_rate, num_steps, ceiling)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_training_that_fails_is_a_refusal(seed: int) -> None:
    """Whatever other seeds found."""
    valley = Broken(moved={1: 1.3, 2: 1.6})
    valley.failing = frozenset({seed})
    found = run(valley, max_steps=5000)
    assert (None, "it broke") == (found.found, found.refusal)


@pytest.mark.parametrize(("seed", "num_seeds"), [(0, 0), (1, 1), (2, 2)])
def test_time_that_ends_leaves_the_seeds_that_are_done(seed: int, num_seeds: int) -> None:
    """Without any, it is a refusal."""
    valley = Broken(moved={1: 1.3, 2: 1.6})
    valley.failing, valley.error = frozenset({seed}), OutOfTimeError
    found = run(valley, max_steps=5000)
    assert (num_seeds, "it broke" if num_seeds == 0 else None) == (
        len(found.found.per_seed) if found.found else 0,
        found.refusal,
    )


def test_more_seeds_are_all_tried_and_judged_together() -> None:
    """Also those that would agree; they have as many steps again, and no sweep."""
    valley = Valley(moved={7: 2.0, 8: 2.0, 9: 2.0})
    search = LearningRateSearch(valley, limits())
    first = search.run(SEEDS)
    swept = len([kind for kind, *_ in valley.asked if kind == "sweep"])
    together = search.more((7, 8, 9))
    assert first.found is not None
    assert together.found is not None
    assert (5, 1, first.found.per_seed) == (
        len(together.found.per_seed),
        swept,
        together.found.per_seed[:2],
    )
    assert first.steps < together.steps <= 1200


def test_more_seeds_settle_a_disagreement() -> None:
    """Their mean is what counts, not the largest distance."""
    valley = Valley(moved={1: 10.0})
    search = LearningRateSearch(valley, limits(max_steps=4000))
    first, together = search.run((0, 1)), search.more((2, 3))
    assert (True, None, False) == (first.disagreement, first.found, together.disagreement)
    assert together.found is not None


def test_signal_to_noise_is_that_of_the_worst_seed() -> None:
    """None where nothing was tried."""
    noisy = run(Valley(noise=0.05), max_steps=5000)
    assert min(one.signal_to_noise for one in noisy.trials.values()) == noisy.signal_to_noise
    assert run(Valley(), max_steps=10).signal_to_noise is None
