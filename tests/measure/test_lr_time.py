"""The time and the steps that the LR range test of a case takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from lr_bench import SEEDS, Bench

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench."""
    return Bench(tmp_path)


def test_time_that_ends_before_the_first_seed_is_a_refusal(bench: Bench) -> None:
    """It tells the steps that were taken and what to change."""
    bench.runner.late_seeds = {0: 25}
    found = bench.run(f"{SEEDS}, max_seconds: 50")
    assert (None, (), ()) == (found.learning_rate, found.lr_curves, found.artifacts)
    assert (found.lr_refusal or "").startswith(
        "the range test has lr_range.max_seconds of 50 s, in which it took 25 steps, and knew the "
        "range of no seed: raise lr_range.max_seconds, or lower"
    )


def test_time_that_ends_later_leaves_the_seeds_that_are_done(bench: Bench) -> None:
    """The first seed's rate is the result; a warning says that nothing confirms it."""
    bench.runner.late_seeds = {1: 25}
    found = bench.run(f"{SEEDS}, max_seconds: 50")
    assert (1, None) == (len(found.learning_rates), found.lr_refusal)
    assert found.learning_rate == pytest.approx(1e-2, rel=0.02)
    assert {0} == {curve.seed for curve in found.lr_curves}
    (warning,) = found.warnings
    assert "the learning rate is that of 1 of 2 seeds" in warning


@pytest.mark.parametrize(("lr", "bounded"), [("", False), (", max_seconds: 50", True)])
def test_all_trainings_share_the_seconds(bench: Bench, lr: str, *, bounded: bool) -> None:
    """Each one is given what is left of max_seconds; without one there is no limit."""
    bench.run(SEEDS + lr)
    given = bench.runner.seconds
    assert 1 + len(bench.runner.tried) == len(given)
    assert {bounded} == {seconds is not None for seconds in given}
    left = [seconds for seconds in given if seconds is not None]
    assert sorted(set(left), reverse=True) == left
    assert all(0 < seconds <= 50 for seconds in left)


@pytest.mark.parametrize(("locked", "advised"), [(False, True), (True, False)])
def test_a_long_first_range_test_is_announced_with_advice(
    bench: Bench, caplog: pytest.LogCaptureFixture, *, locked: bool, advised: bool
) -> None:
    """Steps and time come from the speed of the search; only the first run is given advice."""
    bench.measurement = replace(bench.measurement, samples_per_second=10.0)
    with caplog.at_level("INFO", "harness"):
        bench.run(locked=bench.lock() if locked else None)
    (record,) = [one for one in caplog.records if "at most about" in one.getMessage()]
    assert (
        "at most 400 steps at batch 48, in trials of 30, at most about 32 minutes"
        in record.getMessage()
    )
    assert advised == ("lower lr_range.num_training" in record.getMessage())
    assert advised == (record.levelname == "WARNING")


@pytest.mark.parametrize(
    ("lr", "steps", "horizon"),
    [
        ("seeds: [0], num_training: 70", 70, 10),
        ("seeds: [0, 1], num_training: 35", 70, 10),
        (f"{SEEDS}, horizon: 12", 400, 12),
    ],
)
def test_the_announced_steps_are_not_exceeded(
    bench: Bench, caplog: pytest.LogCaptureFixture, lr: str, steps: int, horizon: int
) -> None:
    """Few steps in all shorten the trials; all trainings together take no more than was told."""
    with caplog.at_level("INFO", "harness"):
        found = bench.run(lr)
    first, *_ = (record.getMessage() for record in caplog.records)
    expected = (
        f"net-cpu-1: LR range test: at most {steps} steps at batch 48, in trials of {horizon}"
    )
    assert expected == first
    assert found.lr_steps == sum(len(curve.losses) for curve in found.lr_curves)
    assert found.lr_steps <= steps
    assert horizon == bench.runner.tried[0][1]


def test_too_few_steps_are_refused_before_any_training(bench: Bench) -> None:
    """The trials of one seed need 7 x 5 steps."""
    found = bench.run("seeds: [0], num_training: 34")
    assert "the trials of one seed need at least 35" in (found.lr_refusal or "")
    assert ([], (), 0) == (
        bench.runner.swept + bench.runner.tried,
        found.artifacts,
        found.lr_steps,
    )


@pytest.mark.parametrize(("locked", "tried"), [(60, 60), (20, 30), (1000, 85)])
def test_a_longer_locked_horizon_is_the_first(bench: Bench, locked: int, tried: int) -> None:
    """It is what the lock can be compared with, as far as the steps in all allow it."""
    found = bench.run(f"{SEEDS}, num_training: 300", bench.lock(lr_horizon=locked))
    assert ([], {tried}) == (bench.runner.swept, {steps for _, steps, _, _ in bench.runner.tried})
    assert tried == found.lr_horizon


def test_trainings_end_epochs_only_where_memory_is_kept(bench: Bench) -> None:
    """The search's probes tell; without any, trials go on without an epoch's end."""
    bench.run()
    assert {False} == set(bench.runner.whole_epochs)
