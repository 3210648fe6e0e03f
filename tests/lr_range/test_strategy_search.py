"""A learning rate that a strategy reads off sweeps, stage by stage, on losses of a formula."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from loss_surfaces import Valley

from harness.lr_range.find import LearningRateSearch, Limits, NoLossesError, OutOfTimeError
from harness.lr_range.ratio import ratio
from harness.lr_range.strategy_search import Strategy, StrategySearch, strategy_of
from harness.lr_range.suggestion import geometric_sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

RATES = geometric_sweep(1e-6, 10.0, 200)
LIMITS = Limits(1e-6, 10.0, 30, 600)


def fixed(*rates: float | str, name: str = "mine.rule") -> Strategy:
    """Return a strategy that reads these off the sweeps, in their order."""
    left = list(rates)

    def read(_rates: Sequence[float], sweeps: Sequence[Sequence[float]]) -> list[float | str]:
        return [left.pop(0) for _ in sweeps]

    return Strategy(name, read, asks_for_signal=False)


def search(
    valley: Valley, *strategies: Strategy, trials: bool = True, drop: bool = False
) -> StrategySearch:
    """Return a search with these strategies."""
    inner = LearningRateSearch(valley, LIMITS) if trials else None
    return StrategySearch(valley, RATES, strategies, inner, decided_by_trials=drop)


def test_first_stage_reads_one_sweep() -> None:
    """There is a rate without a range, and no trial."""
    valley = Valley()
    result = search(valley, strategy_of("steepest"), trials=False).run([0])
    found = result.found
    assert found is not None
    assert [("whole sweep", 0, 1e-6, 200)] == valley.asked
    assert (False, 1, 200) == (found.has_range, len(found.per_seed), result.steps)


def test_second_stage_measures_the_range() -> None:
    """The rate is the strategy's, and trials of its seed give a range that holds it."""
    valley = Valley()
    result = search(valley, fixed(0.04)).run([0])
    found = result.found
    assert found is not None
    assert 0.04 == pytest.approx(found.learning_rate)
    assert found.lowest < 0.04 < found.highest
    assert {"whole sweep", "trial"} == {kind for kind, *_ in valley.asked}
    assert 200 + sum(map(len, result.trials[0].losses.values())) == result.steps


def test_third_stage_takes_the_median_of_the_seeds() -> None:
    """Each seed is swept, one has trials, and the range holds what each seed gives."""
    valley = Valley()
    found = search(valley, fixed(0.03, 0.06, 0.04)).run([0, 1, 2]).found
    assert found is not None
    assert 0.04 == pytest.approx(found.learning_rate)
    assert (0.03, 0.06, 0.04) == found.per_seed
    assert found.lowest <= min(found.per_seed) <= max(found.per_seed) <= found.highest
    assert {0} == {seed for kind, seed, *_ in valley.asked if kind == "trial"}


def test_seed_that_confirms_the_lock_is_enough() -> None:
    """The other seeds are not swept."""
    valley = Valley()
    one = search(valley, fixed(0.04))
    one.confirmed_by = (0.045,)
    result = one.run([0, 1, 2])
    assert result.found is not None
    assert (0.04,) == result.found.per_seed
    assert [0] == [seed for kind, seed, *_ in valley.asked if kind == "whole sweep"]


def test_rate_above_the_cliff_is_refused() -> None:
    """Trials contradict a strategy that reads a rate at which training diverges."""
    result = search(Valley(), fixed(1.0)).run([0])
    assert result.found is None
    assert result.refusal is not None
    assert result.refusal.startswith(
        "strategy mine.rule gives 1, at which trials of 30 steps lack 100% of the best drop"
    )


def test_rate_at_which_nothing_is_learned_is_refused() -> None:
    """It is tried itself, because it lies below all that the trials needed."""
    valley = Valley()
    result = search(valley, fixed(1e-5)).run([0])
    assert result.refusal is not None
    assert "gives 1e-05, at which trials of 30 steps lack 100% of the best drop" in result.refusal
    assert pytest.approx(1e-5) == min(rate for kind, _, rate, _ in valley.asked if kind == "trial")


def test_slower_rate_is_found_with_a_remark() -> None:
    """A strategy may be more careful than the drop: the rate stands, and the doubt beside it."""
    result = search(Valley(), fixed(5e-3)).run([0])
    assert result.found is not None
    assert 5e-3 == pytest.approx(result.found.learning_rate)
    assert result.remark is not None
    assert result.remark.startswith("strategy mine.rule gives 0.005, at which trials of 30 steps")


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (math.nan, "it gives nan, and a finite number above 0 is needed"),
        (math.inf, "it gives inf, and a finite number above 0 is needed"),
        (-0.1, "it gives -0.1, and a finite number above 0 is needed"),
        (0.0, "it gives 0, and a finite number above 0 is needed"),
        (1e-9, "it gives 1e-09, outside of the sweep from 1e-06 to 10: lower lr_range.lr_min"),
        (30.0, "it gives 30, outside of the sweep from 1e-06 to 10: raise lr_range.lr_max"),
        ("it returned None", "it returned None"),
    ],
)
def test_reading_that_is_no_rate_is_refused(reading: float | str, reason: str) -> None:
    """The refusal names the strategy, the seed and the value."""
    result = search(Valley(), fixed(reading), trials=False).run([3])
    assert result.found is None
    assert result.refusal is not None
    assert result.refusal.startswith(
        f"strategy mine.rule reads no learning rate off the sweep with seed 3: {reason}"
    )


def test_nothing_more_is_trained_where_a_strategy_gives_nothing() -> None:
    """Neither further seeds nor trials can turn it."""
    valley = Valley()
    assert search(valley, fixed("no")).run([0, 1, 2]).found is None
    assert [("whole sweep", 0, 1e-6, 200)] == valley.asked


def test_seeds_far_apart_are_refused() -> None:
    """More than a factor of 4 between two seeds is a disagreement, which more seeds may end."""
    one = search(Valley(), fixed(0.01, 0.05, 0.02, 0.02, 0.02), trials=False)
    result = one.run([0, 1])
    assert result.refusal is not None
    assert result.refusal.startswith(
        "the seeds disagree: strategy mine.rule reads 0.01, 0.05 off their sweeps, x5.0 apart"
    )
    assert result.disagreement
    more = one.more([2, 3, 4])
    assert more.found is not None
    assert 0.02 == pytest.approx(more.found.learning_rate)
    assert not more.disagreement


def test_published_rule_without_trials_needs_a_signal() -> None:
    """A loss that never falls is refused where nothing but the sweep can tell."""
    flat = Valley(lowest_loss=2.0, noise=0.01)
    refusal = search(flat, strategy_of("valley"), trials=False).run([0]).refusal
    assert refusal is not None
    assert refusal.startswith("the signal is lost in the noise")


def test_rule_of_the_user_judges_the_signal_itself() -> None:
    """What it reads off a flat sweep stands."""
    flat = Valley(lowest_loss=2.0, noise=0.01)
    found = search(flat, fixed(0.04), trials=False).run([0]).found
    assert found is not None
    assert 0.04 == pytest.approx(found.learning_rate)


def test_further_strategies_are_read_and_decide_nothing() -> None:
    """Their rates stand beside the first one's; one that refuses has none."""
    others = (fixed(0.5, name="mine.high"), fixed("no", name="mine.none"))
    result = search(Valley(), fixed(0.04), *others).run([0])
    assert {"mine.rule": 0.04, "mine.high": 0.5, "mine.none": None} == pytest.approx(
        result.suggestions
    )
    assert result.found is not None
    assert 0.04 == pytest.approx(result.found.learning_rate)


def test_drop_is_the_same_with_other_strategies_beside_it() -> None:
    """The whole sweep that is drawn takes the place of the coarse one, and moves nothing."""
    alone = LearningRateSearch(Valley(), LIMITS).run([0, 1, 2])
    valley = Valley()
    both = search(valley, strategy_of("drop"), strategy_of("valley"), drop=True).run([0, 1, 2])
    assert alone.found is not None
    assert both.found is not None
    assert ratio(alone.found.learning_rate, both.found.learning_rate) == pytest.approx(1, rel=1e-6)
    assert both.suggestions["drop"] == both.found.learning_rate
    assert ["whole sweep"] == [kind for kind, *_ in valley.asked if kind != "trial"]


@dataclass
class Late(Valley):
    """A valley that has time for some seeds only, or refuses all."""

    refuses: bool = False

    def whole_sweep(self, seed: int, learning_rates: Sequence[float]) -> list[float]:
        """Return the losses of seed 0; raise for others."""
        if self.refuses:
            raise NoLossesError("there is nothing to scale")
        if seed:
            raise OutOfTimeError("time is over")
        return super().whole_sweep(seed, learning_rates)


def test_seeds_that_are_swept_in_time_count() -> None:
    """A seed for which no time is left is left out."""
    found = search(Late(), fixed(0.04), trials=False).run([0, 1]).found
    assert found is not None
    assert (0.04,) == found.per_seed


@pytest.mark.parametrize("drop", [False, True])
def test_sweep_that_is_refused_is_the_refusal(*, drop: bool) -> None:
    """The reason is the workload's."""
    one = search(Late(refuses=True), strategy_of("drop"), strategy_of("valley"), drop=drop)
    assert "there is nothing to scale" == one.run([0]).refusal
