"""The LR range test of a case by strategies and stages: what it trains, finds and confirms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from lr_bench import Bench
from lr_curves import fall

from harness.lr_range.ratio import ratio


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench on which strategies read about 1e-2 off a sweep, as trials do."""
    bench = Bench(tmp_path)
    bench.runner.curve = lambda rates, seed: fall(rates, 4e-3, noise=0.002, seed=seed)
    return bench


def test_one_sweep_is_the_first_stage(bench: Bench) -> None:
    """It goes on to its end, with the first seed, and gives a rate without a range."""
    found = bench.run("stages: 1, strategy: steepest")
    assert found.learning_rate is not None
    assert ([(48, 200, 0)], [True], []) == (
        bench.runner.swept,
        bench.runner.whole,
        bench.runner.tried,
    )
    assert ((), None, 200) == (found.learning_rate_range, found.lr_horizon, found.lr_steps)
    assert 1 == len(found.learning_rates)
    assert () == found.warnings


def test_drop_has_stages_too(bench: Bench) -> None:
    """One seed's trials give what three seeds confirm, and its sweep alone is not far from it."""
    whole = bench.run().learning_rate
    second = bench.run("stages: 2")
    first = bench.run("stages: 1")
    assert whole is not None
    assert second.learning_rate is not None
    assert first.learning_rate is not None
    assert ratio(whole, second.learning_rate) < 1.1
    assert ratio(whole, first.learning_rate) < 4
    assert (1, True) == (len(second.learning_rates), bool(second.learning_rate_range))
    assert () == second.warnings


def test_strategy_sweeps_each_seed_and_tries_one(bench: Bench) -> None:
    """In the third stage further seeds confirm by their sweeps; trials have measured the range."""
    found = bench.run("seeds: [0, 1, 2], strategy: steepest")
    assert found.learning_rate is not None
    assert [0, 1, 2] == [seed for _, _, seed in bench.runner.swept]
    assert [0] == bench.runner.seeds_tried
    assert (3, 2, 30) == (
        len(found.learning_rates),
        len(found.learning_rate_range),
        found.lr_horizon,
    )


def test_current_lock_is_confirmed_by_one_seed(bench: Bench) -> None:
    """The same strategy on the same recipe sweeps once, and an update keeps the locked rate."""
    settings = "seeds: [0, 1, 2], strategy: steepest"
    first = bench.run(settings)
    locked = bench.lock(
        learning_rate=first.learning_rate,
        learning_rates=first.learning_rates,
        learning_rate_range=first.learning_rate_range,
    )
    bench.runner.swept.clear()
    again = bench.run(settings, locked)
    assert [0] == [seed for _, _, seed in bench.runner.swept]
    assert again.lr_confirmed
    assert () == again.warnings


def test_lock_without_a_range_is_kept_while_its_recipe_asks_for_none(bench: Bench) -> None:
    """A rate of the first stage answers `when: changed`; without that recipe it is none."""
    locked = bench.lock(learning_rate_range=(), lr_horizon=None)
    first = replace(locked, settings={"lr_range.stages": 1})
    assert bench.run("when: changed, stages: 1", first).lr_kept
    assert not bench.run("when: changed", locked).lr_kept


def test_new_seeds_are_tried_before_a_strategy_may_fail(bench: Bench) -> None:
    """What the seeds suggest together is judged, whatever the stage."""
    locked = bench.lock(learning_rate=1.0, learning_rates=(1.0,))
    found = bench.run("seeds: [0, 1], strategy: steepest, stages: 2", locked)
    assert [0, 2, 3] == [seed for _, _, seed in bench.runner.swept]
    assert 3 == len(found.learning_rates)


def test_drawn_strategies_are_in_the_file_beside_the_picture(bench: Bench) -> None:
    """The default rule decides as ever, and each other rate is there by its name."""
    alone = bench.run()
    found = bench.run("seeds: [0, 1], strategy: [drop, valley, minimum]")
    assert alone.learning_rate == pytest.approx(found.learning_rate)
    content = json.loads(Path(found.artifacts[1]).read_text(encoding="utf-8"))
    assert ["drop", "valley", "minimum"] == list(content["suggestions"])
    assert found.learning_rate == pytest.approx(content["suggestions"]["drop"])


def test_groups_with_different_rates_are_found(bench: Bench) -> None:
    """Each group's rate at the suggestion stands in its order, and nothing where all are alike."""
    bench.runner.attribute = "Net.lr"
    assert () == bench.run().group_learning_rates
    bench.runner.rates_of = lambda value: (value, 10 * value, 0.5)
    found = bench.run()
    assert found.learning_rate is not None
    assert (found.learning_rate, 10 * found.learning_rate, 0.5) == pytest.approx(
        found.group_learning_rates
    )


def test_confirmed_rate_has_its_own_rates_of_groups(bench: Bench) -> None:
    """A lock of an earlier version gets those of the rate that it keeps."""
    bench.runner.attribute = "Net.lr"
    bench.runner.rates_of = lambda value: (value, 10 * value)
    found = bench.run(locked=bench.lock(learning_rate=1.01e-3))
    assert found.lr_confirmed
    assert (1.01e-3, 1.01e-2) == pytest.approx(found.group_rates_at_locked)
