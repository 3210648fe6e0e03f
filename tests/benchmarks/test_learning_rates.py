"""What the benchmark of the learning rate judges by: oracles, peers, and recorded losses."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import lr_rule
import pytest
from learning_rates.oracles import Oracle, Run
from learning_rates.peers import PEERS, lightning
from learning_rates.recorded import FinalLosses
from learning_rates.recorder import Recorder, Replayed
from learning_rates.step_law import judge_step_law
from learning_rates.tasks import TASKS
from lightning.pytorch.tuner.lr_finder import _LRFinder

from harness.lr_range.find import NoLossesError
from harness.lr_range.strategies import minimum, slide, steepest
from harness.lr_range.suggestion import geometric_sweep
from harness.lr_range.trials import rate_at

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARKS = Path(lr_rule.__file__).parent
RATES = geometric_sweep(1e-6, 10.0, 200)


def falling_and_diverging(begin: float, end: float) -> list[float]:
    """Return the losses of a sweep that falls smoothly between two rates, and then explodes."""
    return [
        1 + 1 / (1 + (rate / begin) ** 2) + (rate / end) ** 3 + 0.01 * math.sin(7 * step)
        for step, rate in enumerate(RATES)
    ]


@pytest.mark.parametrize(("begin", "end"), [(1e-3, 1.0), (1e-2, 0.3), (1e-4, 5.0)])
def test_lightning_is_the_installed_one(begin: float, end: float) -> None:
    """The rule gives the rate that Lightning's own finder gives for the same losses."""
    losses = falling_and_diverging(begin, end)
    average, best, smoothed = 0.0, math.inf, []
    for step, loss in enumerate(losses, start=1):
        # As its callback does it: `step` is the trainer's number of finished steps.
        average = 0.98 * average + 0.02 * loss
        smoothed.append(average / (1 - 0.98 ** (step + 1)))
        if step > 1 and smoothed[-1] > 4 * best:
            break
        best = min(best, smoothed[-1])
    finder = _LRFinder("exponential", RATES[0], RATES[-1], len(RATES))
    finder.results = {"lr": list(RATES[: len(smoothed)]), "loss": smoothed}
    assert finder.suggestion() == pytest.approx(lightning(RATES, losses))


def test_minimum_is_a_tenth_of_the_lowest() -> None:
    """Where the loss falls until it explodes, the suggestion lies a decade below that."""
    losses = [2 - step / 200 if step < 150 else math.nan for step in range(200)]
    # fastai leaves the last 5 losses out, of which the one that is not finite is one.
    assert RATES[150 - 5] / 10 == pytest.approx(minimum(RATES, losses))


def test_torch_lr_finder_takes_the_steepest() -> None:
    """The suggestion lies where the loss falls fastest, though the average lags behind."""
    losses = [2.0] * 100 + [1.0] * 100
    assert RATES[100] == pytest.approx(steepest(RATES, losses))


def test_slide_moves_from_the_right() -> None:
    """A loss whose gradient never changes leaves the slide where it starts."""
    losses = [2.0] * 200
    assert RATES[200 - 5 - 1 - 15] == pytest.approx(slide(RATES, losses))


@pytest.mark.parametrize("peer", PEERS)
def test_peers_of_a_sweep_without_losses(peer: str) -> None:
    """A sweep that diverges in its first step gives no rate."""
    assert PEERS[peer](RATES, [None]) is None


def runs(final_losses: Sequence[float | None], seed: int = 0) -> list[Run]:
    """Return trainings at half decades from 1e-3, with an initial loss of 2."""
    return [
        Run(seed, rate_at(2 * number - 12), 2.0, final) for number, final in enumerate(final_losses)
    ]


def test_regret_is_linear_in_the_log_of_the_rate() -> None:
    """Half way between two rates, in log space, lies the mean of what both lose."""
    oracle = Oracle(runs([2.0, 1.0, 1.5]))
    between = math.sqrt(rate_at(-10) * rate_at(-8))
    assert [1.0, 0.0, 0.25, 0.5] == [
        pytest.approx(oracle.regret(rate)) for rate in (1e-9, rate_at(-10), between, 1e9)
    ]


def test_regret_is_that_of_each_seed() -> None:
    """Each seed has its own best rate; trainings that end badly or without a loss lose all."""
    oracle = Oracle([*runs([1.0, 2.0, None]), *runs([2.0, 1.0, 9.0], seed=1)])
    assert [0.5, 0.5, 1.0] == list(oracle.regrets.values())


def test_recorder_trains_once(tmp_path: Path) -> None:
    """A second recorder finds the losses of the first in the folder; longer ones begin alike."""
    name = "wine mlp, sgd 16"
    first = Recorder(name, TASKS[name], tmp_path).constant(0, -4, 8)
    nothing = replace(TASKS[name], start=lambda seed: pytest.fail(f"seed {seed} trains again"))
    again = Recorder(name, nothing, tmp_path)
    longer = Recorder(name, TASKS[name], tmp_path).constant(0, -4, 12)
    assert (first, first[:6], first) == (
        again.constant(0, -4, 8),
        again.constant(0, -4, 6),
        longer[:8],
    )


def test_replayed_trial_ends_where_a_probe_would(tmp_path: Path) -> None:
    """A trial above its ceiling ends after five losses, whatever is recorded."""
    name = "wine mlp, sgd 16"
    replayed = Replayed(Recorder(name, TASKS[name], tmp_path))
    assert (5, 8) == (
        len(replayed.trial(0, rate_at(-20), 8, 0.01)),
        len(replayed.trial(0, rate_at(-20), 8, None)),
    )


def test_recorded_trials_end_with_the_final_loss() -> None:
    """The second half of a trial is the final loss, linear between recorded rates."""
    sweep = {"lr_min": 1e-3, "lr_max": 1e-1, "num_training": 2, "losses_per_seed": [[2.0, 1.0]]}
    trainings = FinalLosses(runs([1.8, 1.0, None]), sweep)
    assert ([2.0, 2.0, 1.4, 1.4], True) == (
        trainings.trial(0, rate_at(-11), 4, None),
        math.isnan(trainings.trial(0, rate_at(-9), 4, None)[0]),
    )
    with pytest.raises(NoLossesError, match=r"400 steps at 0\.0056 are not recorded"):
        trainings.trial(0, rate_at(-9), 400, None)


def test_width_of_published_losses(tmp_path: Path) -> None:
    """A loss that rises by 1% with each factor of 2 is within 1% over a width of 4."""
    header = "h,ffnh,numh,numl,D,bs,lr,smooth loss"
    lines = [f"1,1,1,1,1,1,{2.0**power},{1 + abs(power) / 100}" for power in range(-3, 4)]
    path = tmp_path / "losses.csv"
    path.write_text("\n".join([header, *lines]))
    found = judge_step_law(path)
    assert ({"grids": 1, "median": 4.0}, {"grids": 1, "median": 0.0158}) == (
        found["width"]["1.00%"],
        found["excess"]["x3"],
    )


def test_committed_result_is_of_these_tasks() -> None:
    """The committed result has a row for each task, and says itself which bars it misses."""
    path = BENCHMARKS / "results" / "lr_rule.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    assert (list(TASKS), lr_rule.BARS, result["missed"]) == (
        list(result["tasks"]),
        result["bars"],
        lr_rule.missed(result["figures"]),
    )
