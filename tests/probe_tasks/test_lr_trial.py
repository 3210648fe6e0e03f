"""One trial: a training at one constant learning rate, its end, and what it shares with sweeps."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

import pytest
from lr_sweep_workloads import Small, here, run
from projects import workload
from rate_workloads import here as rates_here

if TYPE_CHECKING:
    from projects import StartRunner

# Lightning warns about few workers and short loaders, which these tests have on purpose.
pytestmark = pytest.mark.filterwarnings("ignore")

RATE, STEPS = 3e-3, 12
TRIAL = (RATE,) * STEPS


def test_every_step_has_the_same_rate() -> None:
    """The optimizer uses the trial's rate in each step, and each step has its batch's raw loss."""
    found = run(here("Small"), rates=TRIAL, trial=True)
    assert ("fits", None, list(TRIAL)) == (
        found["outcome"],
        found["refusal"],
        found["learning_rates"],
    )
    assert [(RATE,)] * STEPS == Small.used
    assert pytest.approx(Small.seen) == found["losses"]


@pytest.mark.parametrize(
    "module",
    # One that torch's hooks do not reach is in the sweeps' tests: once in a process, torch allows.
    ["OneCycle", "Cyclic", "StepsByHand", "HoldsSchedules", "Plateau", "TensorRate"],
)
def test_schedules_change_no_rate_of_a_trial(module: str) -> None:
    """Whoever steps them, and whatever the optimizer keeps its rate in."""
    assert run(rates_here(module), rates=TRIAL, trial=True)["refusal"] is None
    assert [pytest.approx(RATE)] * STEPS == [float(used) for (used,) in Small.used]


def test_groups_keep_their_ratio_in_a_trial() -> None:
    """The rate is that of the largest group, a tenth of it the other's; a warm-up is off."""
    run(here("Warm"), rates=TRIAL, trial=True)
    assert [pytest.approx((RATE / 10, RATE))] * STEPS == Small.used


def test_groups_that_do_not_follow_keep_their_rate_in_a_trial() -> None:
    """The trial's rate is that of the others."""
    run(rates_here("FixedBody"), rates=TRIAL, trial=True, fixed_groups=[0])
    assert [pytest.approx((0.5, RATE))] * STEPS == Small.used


def test_value_of_the_attribute_is_set_for_a_trial() -> None:
    """A rate of zero in the workload is no obstacle."""
    found = run(
        rates_here("Head"), rates=TRIAL, trial=True, learning_rate=1e-3, module_args={"lr": 0.0}
    )
    assert (None, STEPS) == (found["refusal"], len(found["losses"]))


def test_trials_of_a_seed_see_the_same_state_and_the_same_batches() -> None:
    """At a rate that changes nothing, the losses are those of an untrained module at any other."""
    still, again, moved = (
        run(here("Small"), rates=(rate,) * STEPS, trial=True, seed=3)["losses"]
        for rate in (1e-12, 1e-12, 1e-2)
    )
    assert still == again
    assert still[0] == moved[0]
    assert still[1:] != moved[1:]


def test_a_loss_above_the_ceiling_ends_a_trial() -> None:
    """The median of five losses counts: of 1, 2, 3 ... it exceeds 4.5 with the seventh."""
    losses = run(here("Climbs"), rates=TRIAL, trial=True, ceiling=4.5)["losses"]
    assert [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0] == losses
    assert median(losses[-5:]) > 4.5 > median(losses[-6:-1])


@pytest.mark.parametrize("ceiling", [None, 1e6])
def test_a_trial_below_its_ceiling_goes_on(ceiling: float | None) -> None:
    """However far the loss rises without one: a trial of few steps has no plateau."""
    losses = run(here("Climbs"), rates=(RATE,) * 60, trial=True, ceiling=ceiling)["losses"]
    assert 60 == len(losses)


def test_the_rule_of_a_sweep_does_not_end_a_trial() -> None:
    """The same losses end a sweep, because they left its plateau a hundredfold."""
    rates = (RATE,) * 60
    sweep, trial = (run(here("Diverges"), rates=rates, trial=trial) for trial in (False, True))
    assert len(sweep["losses"]) < 30
    assert 60 == len(trial["losses"])


def test_the_ceiling_does_not_end_a_sweep() -> None:
    """A sweep begins on its own plateau, wherever that is."""
    losses = run(here("Small"), rates=TRIAL, trial=False, ceiling=0.0)["losses"]
    assert STEPS == len(losses)


def test_a_loss_that_is_not_finite_ends_a_trial() -> None:
    """It is the last one, and no failure."""
    found = run(here("Explodes"), rates=TRIAL, trial=True)
    assert ("fits", None, [True, True, False]) == (
        found["outcome"],
        found["refusal"],
        [math.isfinite(loss) for loss in found["losses"]],
    )


def test_skipped_batches_do_not_count_in_a_trial() -> None:
    """A trial has as many steps as it was asked for."""
    found = run(here("SkipsBatches"), rates=TRIAL, trial=True)
    assert pytest.approx(Small.seen[1::2]) == found["losses"]
    assert STEPS == len(found["losses"])


def test_trials_and_sweeps_have_logs_of_their_own(start: StartRunner) -> None:
    """The log's name has kind, seed and rate, so that the log of a trial can be found."""
    runner = start(workload("zoo.Net", module_args={"width": 8}))
    trial = runner.sweep(4, TRIAL, 5, trial=True, ceiling=100.0)
    sweep = runner.sweep(4, (1e-4, 1e-3), 5)
    assert trial.curve is not None
    assert sweep.curve is not None
    assert (5, TRIAL, STEPS) == (
        trial.curve.seed,
        trial.curve.learning_rates,
        len(trial.curve.losses),
    )
    names = sorted(path.name for path in runner.directory.glob("*-lr-*.log"))
    assert ["lr-trial-seed5-0.003.log", "lr-sweep-seed5.log"] == [
        name.partition("-")[2] for name in names
    ]


@pytest.mark.parametrize("trial", [False, True], ids=["sweep", "trial"])
def test_training_that_raises_in_a_later_step_keeps_its_losses(*, trial: bool) -> None:
    """The rate may be the reason, so the exception is told beside the curve."""
    rates = TRIAL if trial else [1e-4 * 1.5**step for step in range(STEPS)]
    found = run(here("Raises"), rates=rates, trial=trial)
    assert ("fits", "ValueError: loss is not finite", 3) == (
        found["outcome"],
        found["raised"],
        len(found["losses"]),
    )


def test_training_that_raises_in_its_first_step_has_failed() -> None:
    """That step is the same at any rate."""
    found = run(here("RaisesAtOnce"), rates=TRIAL, trial=True)
    assert ("error", "ValueError: no such layer") == (found["outcome"], found["detail"])


def test_data_that_raise_have_failed() -> None:
    """No learning rate is to blame for what a loader raises."""
    found = run(here("Small"), data=here("BreaksLater"), rates=TRIAL, trial=True)
    assert ("error", "OSError: the disk is gone") == (found["outcome"], found["detail"])
