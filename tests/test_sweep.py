"""One sweep of the learning rate: what the optimizer used, what was recorded, and when it ends or refuses."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import pytest
from sweeping import RATES, Keeper, Small, here, ignore, run

from harness import sweep
from harness.lr_range import geometric_sweep

import zoo
from support import workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support import StartRunner

# Lightning warns of what a test does on purpose: few workers, short loaders.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_optimizer_uses_the_learning_rates_of_the_sweep() -> None:
    """One optimizer step per learning rate, at exactly that rate; each has a loss, the raw one of its batch."""
    found = run(here("Small"))
    assert ("fits", None) == (found["outcome"], found["refusal"])
    assert list(RATES) == [rate for (rate,) in Small.used] == found["learning_rates"]
    assert pytest.approx(Small.seen) == found["losses"]


def test_groups_keep_their_ratio_and_schedules_are_off() -> None:
    """A warm-up does not scale the sweep, and groups a factor of 10 apart stay so; the largest is recorded."""
    found = run(here("Warm"))
    assert [pytest.approx((rate / 10, rate)) for rate in RATES] == Small.used
    assert list(RATES) == found["learning_rates"]


def test_accumulated_batches_give_one_loss_per_step() -> None:
    """With accumulation a step's loss is the mean of its micro-batches."""
    found = run(here("Small"), trainer={"accumulate_grad_batches": 4})
    means = [fmean(Small.seen[start : start + 4]) for start in range(0, 12, 4)]
    assert (12, list(RATES)) == (len(Small.seen), found["learning_rates"])
    assert pytest.approx(means) == found["losses"]


def test_skipped_batches_do_not_count() -> None:
    """Of accumulated batches those without a loss are left out of the mean."""
    found = run(here("SkipsBatches"), trainer={"accumulate_grad_batches": 2})
    assert pytest.approx(Small.seen[1::2]) == found["losses"]


def test_step_without_any_loss_is_repeated() -> None:
    """A step whose batch was skipped has no loss: the same learning rate has the next batch."""
    found = run(here("SkipsBatches"))
    assert pytest.approx(Small.seen[1::2]) == found["losses"]
    assert list(RATES) == found["learning_rates"]


def test_loss_is_found_in_a_dict() -> None:
    """A training step may return its loss in a dict."""
    assert run(here("Small"))["losses"] == run(here("ReturnsDict"))["losses"]


def test_nan_ends_the_sweep() -> None:
    """The first loss that is not finite is the last."""
    losses = run(here("Explodes"), rates=geometric_sweep(1e-4, 1e-2, 10))["losses"]
    assert [True, True, False] == [math.isfinite(loss) for loss in losses]


def test_divergence_ends_the_sweep() -> None:
    """Once the loss has clearly risen the sweep ends early, with what it has."""
    found = run(here("Diverges"), rates=geometric_sweep(1e-6, 1e-5, 60))
    assert ("fits", None) == (found["outcome"], found["refusal"])
    assert 20 < len(found["losses"]) == len(found["learning_rates"]) < 30


def test_seed_decides_initialisation_and_data_order() -> None:
    """The same seed gives the same curve, another one another curve."""
    first, again, other = (run(here("Small"), seed=seed)["losses"] for seed in (1, 1, 2))
    assert first == again
    assert first[0] != other[0]


@pytest.mark.parametrize(
    ("module", "data", "more", "refusal"),
    [
        ("zoo.Manual", "zoo.Numbers", {}, "uses manual optimization"),
        ("zoo.TwoOptimizers", "zoo.Numbers", {}, "uses manual optimization"),
        ("SetsItsRate", "zoo.Numbers", {}, "sets the learning rate of its optimizer itself"),
        ("NoRate", "zoo.Numbers", {}, "the optimizer chooses its learning rate itself"),
        ("Small", "zoo.Numbers", {"module_args": {"lr": 0.0}}, "the optimizer's learning rate is 0"),
        ("StopsItself", "zoo.Numbers", {}, "ended its training itself after 1 of 3 steps"),
        ("NeverTrains", "zoo.Numbers", {}, "only 0 of 13 batches took a step"),
        (
            "torch.nn.Flatten",
            "harness.workload.SyntheticImages",
            {"data_args": {"resolution": 2}},
            "the data are synthetic",
        ),
    ],
)
def test_unsuitable_workload_is_refused(module: str, data: str, more: dict[str, Any], refusal: str) -> None:
    """A sweep that would say nothing is refused with its reason; that is no failure."""
    found = run(module if "." in module else here(module), data, **more)
    assert "fits" == found["outcome"]
    assert refusal in found["refusal"]


def test_several_optimizers_are_refused() -> None:
    """More than one optimizer has more than one learning rate: the number is in the refusal."""
    watch = sweep.SweepWatch(ignore, RATES, 1)

    class Trainer:
        class strategy:  # noqa: N801 - Lightning's name
            lr_scheduler_configs: list[Any] = []  # noqa: RUF012 - replaced by the watch

        optimizers = zoo.TwoOptimizers().configure_optimizers()

    with pytest.raises(sweep.SweepRefusedError, match="the workload has 2 optimizers"):
        watch.on_train_start(Trainer, None)


def test_usual_callbacks_and_loggers_do_no_harm() -> None:
    """Early stopping and checkpoints are left out, what needs a logger has one; the curve is the same."""
    assert run(here("Small"))["losses"] == run(here("Configured"))["losses"]


def test_callbacks_of_the_matrix_run() -> None:
    """Callbacks given as specs are built and called; checkpoints among them are left out."""
    Keeper.seen.clear()
    value = {"class_path": "zoo.scale", "init_args": {"value": 2.0}}
    specs = [
        {"class_path": here("Keeper"), "init_args": {"value": value}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {}},
    ]
    assert run(here("Small"), trainer={"callbacks": specs})["refusal"] is None
    assert [4.0] * 3 == Keeper.seen


@pytest.mark.parametrize("callbacks", [None, []])
def test_no_callbacks_may_be_given_in_any_form(callbacks: list[Any] | None) -> None:
    """YAML's null and an empty list are the same as nothing."""
    assert run(here("Small"))["losses"] == run(here("Small"), trainer={"callbacks": callbacks})["losses"]


@pytest.mark.parametrize(
    ("trainer", "rates"),
    [({"precision": "bf16-mixed"}, RATES), ({"gradient_clip_val": 1e-4}, (1.0, 1.0, 1.0))],
    ids=["precision", "clipping"],
)
def test_trainer_settings_reach_the_training(trainer: dict[str, Any], rates: Sequence[float]) -> None:
    """Precision and clipping change the curve: training is the user's."""
    plain, changed = run(here("Small"), rates=rates), run(here("Small"), rates=rates, trainer=trainer)
    assert changed["refusal"] is None
    assert plain["losses"] != changed["losses"]
    assert pytest.approx(plain["losses"], rel=0.5) == changed["losses"]


def test_other_lightning_package_is_swept() -> None:
    """A module of `pytorch_lightning` is swept by its own Trainer."""
    found = run("zoo.OlderPackageNet", "zoo.OlderPackageNumbers")
    assert (None, list(RATES)) == (found["refusal"], found["learning_rates"])


def test_exception_of_the_users_is_a_failure() -> None:
    """An error in training is told with its traceback, even when its message cannot be had."""
    found = run(here("Fails"))
    assert ("error", "UnspeakableError: (its message raised ValueError)") == (
        found["outcome"],
        found["detail"],
    )
    assert "in training_step" in found["traceback"]


def test_data_without_a_full_batch_are_told_apart() -> None:
    """A batch of more samples than there are is neither a refusal nor an error."""
    found = run(here("Small"), batch_size=32, data_args={"num_samples": 31})
    assert "dataset" == found["outcome"]


def test_wrapped_workload_learns_real_digits() -> None:
    """A plain model on real images, wrapped, comes down to well below where it began, and back up."""
    found = run(here("Digits"), here("real_digits"), rates=geometric_sweep(1e-5, 10.0, 120), batch_size=64)
    losses = found["losses"]
    start = median(losses[:10])
    assert math.log(10) == pytest.approx(start, rel=0.05)
    assert min(median(losses[step : step + 5]) for step in range(len(losses) - 4)) < start / 3
    assert len(losses) < 120


def test_sweep_that_hangs_is_killed_after_its_own_time(start: StartRunner) -> None:
    """A sweep has more time than a probe, a twentieth of it per learning rate, and says how much it had."""
    found = start(workload("zoo.Hangs"), timeout=0.5).sweep(4, geometric_sweep(1e-6, 1.0, 40), 0)
    assert found.failure is not None
    assert ("error", "forward", "timed out after 1 s") == (
        found.failure.outcome,
        found.failure.phase,
        found.failure.detail,
    )


def test_loud_failure_comes_through_whole(start: StartRunner) -> None:
    """Megabytes of output go to the log; a long message with odd characters keeps its first line and traceback."""
    found = start(workload("zoo.Loud")).sweep(4, RATES, 0)
    assert found.failure is not None
    assert "ValueError: naïve \\udc80 \x00" == found.failure.detail
    assert "y" * 1_000_000 in (found.failure.traceback or "")
    assert Path(found.failure.log or "").stat().st_size > 5_000_000
