"""The LR range test of a case: what is tried, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lr_bench import SEEDS, Bench
from lr_curves import train

from harness.measurement import LrCurve, Probe

if TYPE_CHECKING:
    from harness.measurement import Measurement


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench."""
    return Bench(tmp_path)


@pytest.fixture
def drawing(tmp_path: Path) -> Bench:
    """Return a bench that draws."""
    return Bench(tmp_path, draws=True)


def saved(found: Measurement) -> dict[str, Any]:
    """Return what the JSON of a range test says."""
    _, curve = found.artifacts
    content: dict[str, Any] = json.loads(Path(curve).read_text(encoding="utf-8"))
    return content


def test_a_sweep_and_then_trials_find_the_rate(bench: Bench) -> None:
    """Only the first seed is swept; trials of the horizon follow at the tuned batch."""
    found = bench.run()
    assert [(48, 57, 0)] == bench.runner.swept
    assert {(48, 30)} == {(batch, steps) for batch, steps, _, _ in bench.runner.tried}
    assert [0, 1] == bench.runner.seeds_tried
    assert found.learning_rate == pytest.approx(1e-2, rel=0.02)
    assert found.learning_rates == pytest.approx((1e-2, 1e-2), rel=0.02)
    lowest, highest = found.learning_rate_range
    assert 0.45e-2 < lowest < 0.7e-2
    assert 1.4e-2 < highest < 2.2e-2
    assert (30, None, False) == (found.lr_horizon, found.lr_refusal, found.lr_kept)


def test_all_trials_of_a_seed_stand_on_its_grid(bench: Bench) -> None:
    """No rate is tried twice with a seed, and each is a power of ten by quarters."""
    bench.run()
    rates = [(seed, rate) for _, _, seed, rate in bench.runner.tried]
    assert sorted(set(rates)) == sorted(rates)
    grid = [10 ** (round(point / 0.25) * 0.25) for point in (-1.5, -2.0, -2.5)]
    assert set(map(float, grid)) < {rate for _, rate in rates}


def test_a_trial_knows_the_loss_above_which_it_has_diverged(bench: Bench) -> None:
    """The first of a seed has no ceiling; each further one ends above it, and that is counted."""
    found = bench.run()
    assert [0, 1] == [
        seed
        for (_, _, seed, _), ceiling in zip(bench.runner.tried, bench.runner.ceilings, strict=True)
        if ceiling is None
    ]
    (ended,) = (curve for curve in found.lr_curves[1:] if len(curve.losses) < 30)
    assert ended.learning_rates[0] == pytest.approx(0.1)
    assert found.lr_steps == sum(len(curve.losses) for curve in found.lr_curves)
    assert found.lr_steps % 30 != 57 % 30


def test_curves_and_artifacts_are_kept(drawing: Bench) -> None:
    """The curves come in the order of the trainings; picture and JSON lie in the case's folder."""
    found = drawing.run()
    sweep, *trials = found.lr_curves
    assert (0, 57) == (sweep.seed, len(sweep.losses))
    assert [(seed, rate) for _, _, seed, rate in drawing.runner.tried] == [
        (curve.seed, curve.learning_rates[0]) for curve in trials
    ]
    folder = drawing.tmp_path / "results" / "net-cpu-1"
    assert (str(folder / "lr_range.png"), str(folder / "lr_range.json")) == found.artifacts
    assert all(Path(path).stat().st_size > 0 for path in found.artifacts)
    content = saved(found)
    assert (found.learning_rate, found.lr_steps) == (content["learning_rate"], content["steps"])


@pytest.mark.parametrize("absolute", [False, True])
def test_plot_goes_where_it_is_asked_for(drawing: Bench, *, absolute: bool) -> None:
    """A relative `plot_path` is below the working directory; the curve stays with the results."""
    asked = str(drawing.tmp_path / "plot.png") if absolute else "plots/plot.png"
    plot, curve = map(Path, drawing.run(f"{SEEDS}, plot_path: {asked}").artifacts)
    assert drawing.tmp_path / "work" / asked == plot
    assert plot.is_file()
    assert drawing.tmp_path / "results" / "net-cpu-1" / "lr_range.json" == curve


def test_a_current_lock_needs_no_sweep_and_one_seed(bench: Bench) -> None:
    """The trials begin at the locked rate, and a first seed near it confirms it."""
    found = bench.run(locked=bench.lock())
    assert [] == bench.runner.swept
    assert 1e-2 == pytest.approx(bench.runner.tried[0][3])
    assert [0] == bench.runner.seeds_tried
    assert (1, 30) == (len(found.learning_rates), found.lr_horizon)
    assert found.learning_rate == pytest.approx(1e-2, rel=0.02)
    assert {"learning_rates": [], "losses": []} == saved(found)["sweep"]


def test_what_the_same_seed_suggested_when_it_was_locked_confirms_too(bench: Bench) -> None:
    """One seed is enough, though it lies far from the mean of the locked seeds."""
    bench.runner.attribute, bench.runner.rates_of = "Net.lr", lambda value: (value, 10 * value)
    changes: dict[str, Any] = {
        "learning_rates": (1e-3, 3.2e-3),
        "learning_rate_range": (1e-3, 3.2e-3),
    }
    found = bench.run(locked=bench.lock(learning_rate=1.8e-3, **changes))
    assert ([], [0], ()) == (bench.runner.swept, bench.runner.seeds_tried, found.warnings)
    assert found.learning_rate == pytest.approx(1e-3, rel=0.02)


def test_a_locked_rate_that_the_first_seed_moves_from_takes_another_seed(bench: Bench) -> None:
    """A factor of 1.4 is within the range, so it does not fail; yet one seed is no confirmation."""
    bench.move(1.4e-2)
    found = bench.run(locked=bench.lock())
    assert ([], [0, 1], 2) == (
        bench.runner.swept,
        bench.runner.seeds_tried,
        len(found.learning_rates),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "sha256:f2"},
        {"recipe": "sha256:r2"},
        {"learning_rate_range": ()},
        {"learning_rate": 1e-7, "learning_rates": ()},
        {"learning_rate": None, "lr_refusal": "too noisy"},
    ],
    ids=["fingerprint", "recipe", "no range", "outside lr_min", "refusal"],
)
def test_any_other_lock_is_no_place_to_start(bench: Bench, changes: dict[str, Any]) -> None:
    """A stale lock, an older one, and one without a rate to try leave the test as without a lock.

    None of these brings new seeds, but the rate outside of the test, which contradicts the lock.
    """
    cold = bench.run()
    bench.runner.swept.clear()
    found = bench.run(locked=bench.lock(**changes))
    assert [(48, 57, 0)] == bench.runner.swept
    assert cold.learning_rates == found.learning_rates[:2]


def test_synthetic_data_are_refused_untried(bench: Bench) -> None:
    """Synthetic data are refused without any training."""
    bench.runner.description = replace(bench.runner.description, synthetic=True)
    found = bench.run()
    assert "synthetic" in (found.lr_refusal or "")
    assert [] == bench.runner.swept + bench.runner.tried


def test_a_refusal_has_no_rate_and_its_curves_are_saved(bench: Bench) -> None:
    """Noise that hides the drop is refused; the trials and the picture tell why."""
    bench.runner.training = lambda rate, num_steps, seed: train(
        rate, num_steps, best=1e-2, noise=1.0, seed=hash((rate, seed))
    )
    found = bench.run("seeds: [0, 1, 2]")
    assert "lost in the noise" in (found.lr_refusal or "")
    assert (None, (), (), None) == (
        found.learning_rate,
        found.learning_rates,
        found.learning_rate_range,
        found.lr_horizon,
    )
    assert found.lr_refusal == saved(found)["refusal"]
    assert found.lr_steps == sum(len(curve.losses) for curve in found.lr_curves)


def test_a_slow_training_gets_a_longer_horizon(bench: Bench) -> None:
    """Where no trial of 30 steps lowers the loss, trials of 60 do, and the lock is told so."""
    bench.runner.training = lambda rate, num_steps, seed: (
        train(1e-9, num_steps, best=1e-2, noise=0.02, seed=seed)
        if num_steps < 60
        else train(rate, num_steps, best=1e-2, noise=0.002, seed=seed)
    )
    found = bench.run("seeds: [0, 1, 2], num_training: 400")
    assert (60, None) == (found.lr_horizon, found.lr_refusal)
    assert found.learning_rate == pytest.approx(1e-2, rel=0.02)
    assert {30, 60} == {steps for _, steps, _, _ in bench.runner.tried}


@pytest.mark.parametrize(("num_training", "warned"), [(60, True), (200, False)])
def test_trials_that_the_steps_shorten_are_told(
    bench: Bench, num_training: int, *, warned: bool
) -> None:
    """A learning rate of fewer steps than were asked for is another one."""
    found = bench.run(f"seeds: [0], horizon: 20, num_training: {num_training}")
    short = [text for text in found.warnings if "lr_range.horizon asks for 20" in text]
    assert (warned, warned) == (bool(short), (found.lr_horizon or 0) < 20)


def test_refused_sweep_ends_the_test(bench: Bench) -> None:
    """After the first refusal nothing is tried and nothing is drawn."""
    bench.runner.failing_seeds = {0: "the workload uses manual optimization"}
    found = bench.run()
    assert ("the workload uses manual optimization", (), 1, []) == (
        found.lr_refusal,
        found.artifacts,
        len(bench.runner.swept),
        bench.runner.tried,
    )


FAILURES = [
    ("oom", "ran out of memory"),
    ("dataset", "found no full batch"),
    ("error", "failed"),
]


def _remedy(outcome: str) -> str:
    """Return what a refusal advises: an exception may be the workload's word for divergence."""
    return "; if only high rates fail, lower lr_range.lr_max" if outcome == "error" else ""


@pytest.mark.parametrize(("outcome", "words"), FAILURES)
def test_failed_sweep_is_a_refusal_with_its_circumstances(
    bench: Bench, outcome: Any, words: str
) -> None:
    """The refusal has seed, batch, phase, cause and log."""
    bench.runner.failing_seeds = {0: Probe(48, outcome, "backward", detail="it broke", log="x.log")}
    found = bench.run()
    expected = (
        f"the sweep with seed 0 {words} at batch 48 in backward: it broke (its output is in x.log)"
        f"{_remedy(outcome)}"
    )
    assert (expected, (), None) == (found.lr_refusal, found.lr_curves, found.learning_rate)


@pytest.mark.parametrize(("outcome", "words"), FAILURES)
def test_failed_trial_is_a_refusal_that_names_its_rate(
    bench: Bench, outcome: Any, words: str
) -> None:
    """It ends the test, though a seed has a rate; the curves until then are kept and drawn."""
    bench.runner.failing_seeds = {1: Probe(48, outcome, "backward", detail="it broke", log="x.log")}
    found = bench.run()
    expected = (
        f"the trial of 0.01 with seed 1 {words} at batch 48 in backward: it broke (its output is in"
        f" x.log){_remedy(outcome)}"
    )
    assert (expected, None, ()) == (
        found.lr_refusal,
        found.learning_rate,
        found.learning_rate_range,
    )
    assert {0} == {curve.seed for curve in found.lr_curves}
    assert expected == saved(found)["refusal"]


def test_a_trial_that_ends_in_nan_is_logged_as_diverged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where its last step is the first that is not finite."""

    def last_is_nan(rate: float, num_steps: int, seed: int) -> list[float]:
        losses = train(rate, num_steps, best=1e-2, noise=0.002, seed=seed)
        return [*losses[:-1], float("nan")] if rate > 2e-2 else losses

    bench.runner.training = last_is_nan
    with caplog.at_level("INFO", "harness"):
        bench.run("seeds: [0]")
    messages = [record.getMessage() for record in caplog.records]
    assert "net-cpu-1: LR trial of 0.0316 with seed 0: diverged after 28 steps" in messages
    assert not [message for message in messages if "loss nan" in message]


def test_a_training_that_raises_at_high_rates_has_a_learning_rate(bench: Bench) -> None:
    """Some workloads raise where others have a loss that is not finite: both have diverged."""
    expected = bench.run().learning_rate
    bench.runner.raises_above = 0.05
    found = bench.run()
    assert found.lr_refusal is None
    assert found.learning_rate == pytest.approx(expected, rel=0.05)


def test_a_training_that_raises_at_every_rate_is_refused_with_the_exception(bench: Bench) -> None:
    """What it raised is told before what the trials showed."""
    bench.runner.raises_above = 0.0
    found = bench.run()
    assert (None, True) == (
        found.learning_rate,
        "the training raised ValueError: not in [0, 1]" in (found.lr_refusal or "").split(";")[0],
    )
    assert found.lr_refusal == saved(found)["refusal"]


def test_curves_hold_the_rate_of_every_step(bench: Bench) -> None:
    """A trial's curve has its one rate for each of its losses."""
    _, trial, *_ = bench.run().lr_curves
    assert isinstance(trial, LrCurve)
    assert (trial.learning_rates[0],) * len(trial.losses) == trial.learning_rates


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf"), 0.0, -3.0, 1e30])
def test_any_loss_that_never_moves_is_refused_with_a_picture(bench: Bench, loss: float) -> None:
    """Also one that is not finite from the first step on: the case keeps its batch size."""
    bench.runner.curve = lambda rates, _: [loss] * (len(rates) if isfinite(loss) else 1)
    bench.runner.training = lambda _, num_steps, __: [loss] * num_steps
    found = bench.run("seeds: [0, 1, 2]")
    assert found.learning_rate is None
    expected = "the loss never fell" if isfinite(loss) else "the loss is not finite at"
    assert (found.lr_refusal or "").startswith(expected)
    assert found.lr_refusal == saved(found)["refusal"]
