"""The learning rate, its range and its seeds are values of the workload's attribute."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lr_bench import Bench

from harness.lr_range.rate_map import RateMap


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench."""
    return Bench(tmp_path)


def tenfold(value: float) -> tuple[float, ...]:
    """Return the rates of a body, and of a head that learns ten times as fast."""
    return (value, 10 * value)


def test_all_values_are_those_of_the_attribute(bench: Bench) -> None:
    """Rate, seeds and range are a tenth of the optimizer's; the largest rate is told beside it."""
    plain = bench.run()
    bench.runner.attribute, bench.runner.rates_of = "Net.lr", tenfold
    found = bench.run()
    assert plain.learning_rate is not None
    assert found.learning_rate == pytest.approx(plain.learning_rate / 10)
    assert found.learning_rates == pytest.approx([rate / 10 for rate in plain.learning_rates])
    assert found.learning_rate_range == pytest.approx(
        [rate / 10 for rate in plain.learning_rate_range]
    )
    assert found.largest_learning_rate == pytest.approx(plain.learning_rate)
    assert (None, plain.lr_curves) == (plain.largest_learning_rate, found.lr_curves)


def test_the_curves_are_saved_with_rates_of_the_optimizer(bench: Bench) -> None:
    """The picture's axis is that of the trials, so its suggestion is such a rate, too."""
    bench.runner.attribute, bench.runner.rates_of = "Net.lr", tenfold
    found = bench.run()
    content = json.loads(Path(found.artifacts[1]).read_text(encoding="utf-8"))
    assert found.largest_learning_rate == pytest.approx(content["learning_rate"])


def test_trials_begin_at_the_rate_that_the_locked_value_makes(bench: Bench) -> None:
    """The lock holds the attribute's value, and trials are of the largest group's rate."""
    bench.runner.attribute, bench.runner.rates_of = "Net.lr", tenfold
    found = bench.run(locked=bench.lock(learning_rate=1e-3))
    assert ([], [0]) == (bench.runner.swept, bench.runner.seeds_tried)
    assert 1e-2 == pytest.approx(bench.runner.tried[0][3])
    assert found.learning_rate == pytest.approx(1e-3, rel=0.02)


def test_the_attribute_is_read_at_the_tuned_batch_and_confirmed(bench: Bench) -> None:
    """The first probe finds the map, and the last one sets the value that would be locked."""
    bench.runner.attribute = "Net.lr"
    found = bench.run()
    assert [(48, ()), (48, (found.learning_rate,))] == bench.runner.read
    assert {RateMap("Net.lr", 1e-3, (1e-3,))} == set(bench.runner.maps)
    assert 1 + len(bench.runner.tried) == len(bench.runner.maps)


def test_groups_with_rates_of_their_own_are_named(bench: Bench) -> None:
    """They keep their rate, and a warning says so; the value is that of the other groups."""
    bench.runner.attribute = "Net.lr"
    bench.runner.rates_of = lambda value: (0.5, value)
    found = bench.run()
    assert found.learning_rate == pytest.approx(1e-2, rel=0.02)
    assert {(0,)} == {rate_map.fixed_groups for rate_map in bench.runner.maps if rate_map}
    (warning,) = found.warnings
    assert "1 of 2 groups of the optimizer keep learning rates of their own (0.5)" in warning


def test_an_attribute_that_is_not_used_is_refused_untried(bench: Bench) -> None:
    """No value of it makes the rates of a trial, so there is nothing to lock."""
    bench.runner.attribute = "Net.lr"
    bench.runner.rates_of = lambda _value: (0.1,)
    found = bench.run()
    assert "the optimizer does not follow Net.lr" in (found.lr_refusal or "")
    assert (None, []) == (found.learning_rate, bench.runner.swept + bench.runner.tried)


def test_a_value_that_makes_other_rates_is_refused(bench: Bench) -> None:
    """A clamp that only the found value reaches is seen in the end; both rates are told.

    No range and no horizon stay behind, and the picture has the refusal.
    """
    bench.runner.attribute = "Net.lr"
    bench.runner.rates_of = lambda value: (min(value, 5e-3),)
    found = bench.run()
    assert (None, (), (), None) == (
        found.learning_rate,
        found.learning_rates,
        found.learning_rate_range,
        found.lr_horizon,
    )
    assert "configure_optimizers gives 0.005" in (found.lr_refusal or "")
    content = json.loads(Path(found.artifacts[1]).read_text(encoding="utf-8"))
    assert (None, found.lr_refusal) == (content["learning_rate"], content["refusal"])
