"""One sweep of the learning rate: its rates, its losses, its end and its refusals."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import pytest
import zoo
from lr_sweep_workloads import RATES, Keeper, KeepsLosses, Small, here, ignore, run
from projects import workload

from harness.lr_range.suggestion import geometric_sweep
from harness.probe_tasks import lr_sweep as sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from projects import StartRunner

# Lightning warns about few workers and short loaders, which these tests have on purpose.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_optimizer_uses_the_learning_rates_of_the_sweep() -> None:
    """Each learning rate has one optimizer step, at exactly that rate, and its batch's raw loss."""
    found = run(here("Small"))
    assert ("fits", None) == (found["outcome"], found["refusal"])
    assert list(RATES) == [rate for (rate,) in Small.used] == found["learning_rates"]
    assert pytest.approx(Small.seen) == found["losses"]


def test_groups_keep_their_ratio_and_schedules_are_off() -> None:
    """A warm-up is off; groups keep their factor of 10, and the largest rate is recorded."""
    found = run(here("Warm"))
    assert [pytest.approx((rate / 10, rate)) for rate in RATES] == Small.used
    assert list(RATES) == found["learning_rates"]


def test_accumulated_batches_give_one_loss_per_step() -> None:
    """With accumulation, the loss of a step is the mean over its micro-batches."""
    found = run(here("Small"), trainer={"accumulate_grad_batches": 4})
    means = [fmean(Small.seen[start : start + 4]) for start in range(0, 12, 4)]
    assert (12, list(RATES)) == (len(Small.seen), found["learning_rates"])
    assert pytest.approx(means) == found["losses"]


@pytest.mark.parametrize(("whole_epochs", "epochs"), [(False, [12]), (True, [5, 5, 2])])
def test_epochs_end_where_memory_is_kept_until_then(whole_epochs: bool, epochs: list[int]) -> None:
    """A sweep over whole epochs goes on from one to the next, also with a part of a window."""
    found = run(
        here("KeepsLosses"),
        "zoo.Numbers",
        data_args={"num_samples": 40},
        rates=geometric_sweep(1e-4, 1e-3, 7 if whole_epochs else 6),
        trainer={"accumulate_grad_batches": 2},
        whole_epochs=whole_epochs,
    )
    assert epochs == KeepsLosses.kept
    means = [fmean(Small.seen[start : start + 2]) for start in range(0, 12, 2)]
    if whole_epochs:
        means = [fmean(Small.seen[begin:end]) for begin, end in WINDOWS]
    assert pytest.approx(means) == found["losses"]


# Of epochs of five batches, each of which is accumulated with the next.
WINDOWS = ((0, 2), (2, 4), (4, 5), (5, 7), (7, 9), (9, 10), (10, 12))

GRADIENT_ACCUMULATION = {
    "class_path": "lightning.pytorch.callbacks.GradientAccumulationScheduler",
    "init_args": {"scheduling": {0: 4, 2: 1}},
}


@pytest.mark.parametrize(
    ("module", "trainer"),
    [("Small", {"callbacks": [GRADIENT_ACCUMULATION]}), ("SetsAccumulation", {})],
    ids=["callback", "hook"],
)
def test_accumulation_that_the_training_sets_itself_is_read(
    module: str, trainer: dict[str, Any]
) -> None:
    """A callback or a hook may set the accumulation: losses and steps are those of a setting."""
    set_by_matrix = run(here("Small"), trainer={"accumulate_grad_batches": 4})
    seen = list(Small.seen)
    found = run(here(module), trainer=trainer)
    assert seen == Small.seen
    assert 12 == len(seen)
    assert set_by_matrix["losses"] == found["losses"]
    assert sum(seen[:4]) / 4 == pytest.approx(found["losses"][0])


def test_skipped_batches_do_not_count() -> None:
    """The mean over accumulated batches leaves out those without a loss."""
    found = run(here("SkipsBatches"), trainer={"accumulate_grad_batches": 2})
    assert pytest.approx(Small.seen[1::2]) == found["losses"]


def test_step_without_any_loss_is_repeated() -> None:
    """When a batch is skipped, the next batch has the same learning rate."""
    found = run(here("SkipsBatches"))
    assert pytest.approx(Small.seen[1::2]) == found["losses"]
    assert list(RATES) == found["learning_rates"]


def test_loss_is_found_in_a_dict() -> None:
    """A training step may return its loss in a dict."""
    assert run(here("Small"))["losses"] == run(here("ReturnsDict"))["losses"]


def test_nan_ends_the_sweep() -> None:
    """The first loss that is not finite is the last one of the sweep."""
    losses = run(here("Explodes"), rates=geometric_sweep(1e-4, 1e-2, 10))["losses"]
    assert [True, True, False] == [math.isfinite(loss) for loss in losses]


def test_divergence_ends_the_sweep() -> None:
    """Once the loss has clearly risen, the sweep ends early and keeps its losses."""
    found = run(here("Diverges"), rates=geometric_sweep(1e-6, 1e-5, 60))
    assert ("fits", None) == (found["outcome"], found["refusal"])
    assert 20 < len(found["losses"]) == len(found["learning_rates"]) < 30


def test_seed_decides_initialisation_and_data_order() -> None:
    """The same seed gives the same curve; another seed gives another curve."""
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
        (
            "Small",
            "zoo.Numbers",
            {"module_args": {"lr": 0.0}},
            "the optimizer's learning rate is 0",
        ),
        ("StopsItself", "zoo.Numbers", {}, "ended its training itself after 1 of 3 steps"),
        ("NeverTrains", "zoo.Numbers", {}, "only 0 of 13 batches took a step"),
        (
            "torch.nn.Flatten",
            "harness.synthetic.SyntheticImages",
            {"data_args": {"resolution": 2}},
            "the data are synthetic",
        ),
    ],
)
def test_unsuitable_workload_is_refused(
    module: str, data: str, more: dict[str, Any], refusal: str
) -> None:
    """A workload that a sweep cannot judge is refused with the reason; that is no failure."""
    found = run(module if "." in module else here(module), data, **more)
    assert "fits" == found["outcome"]
    assert refusal in found["refusal"]


def test_several_optimizers_are_refused() -> None:
    """A workload with several optimizers is refused; the refusal gives their number."""
    watch = sweep.SweepWatch(ignore, ignore, RATES)

    class Trainer:
        class strategy:  # noqa: N801 - Lightning's name
            lr_scheduler_configs: list[Any] = []  # noqa: RUF012 - replaced by the watch

        optimizers = zoo.TwoOptimizers().configure_optimizers()

    with pytest.raises(sweep.SweepRefusedError, match="the workload has 2 optimizers"):
        watch.on_train_start(Trainer, None)


def test_usual_callbacks_and_loggers_do_no_harm() -> None:
    """Without early stopping and checkpoints, and with a logger, the curve is the same."""
    assert run(here("Small"))["losses"] == run(here("Configured"))["losses"]


def test_callbacks_of_the_matrix_run() -> None:
    """Callbacks from the matrix are built and called; checkpoints are left out."""
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
    assert (
        run(here("Small"))["losses"]
        == run(here("Small"), trainer={"callbacks": callbacks})["losses"]
    )


@pytest.mark.parametrize(
    ("trainer", "rates"),
    [({"precision": "bf16-mixed"}, RATES), ({"gradient_clip_val": 1e-4}, (1.0, 1.0, 1.0))],
    ids=["precision", "clipping"],
)
def test_trainer_settings_reach_the_training(
    trainer: dict[str, Any], rates: Sequence[float]
) -> None:
    """The Trainer's precision and clipping change the curve."""
    plain, changed = (
        run(here("Small"), rates=rates),
        run(here("Small"), rates=rates, trainer=trainer),
    )
    assert changed["refusal"] is None
    assert plain["losses"] != changed["losses"]
    assert pytest.approx(plain["losses"], rel=0.5) == changed["losses"]


def test_other_lightning_package_is_swept() -> None:
    """A module of `pytorch_lightning` is swept by its own Trainer."""
    found = run("zoo.OlderPackageNet", "zoo.OlderPackageNumbers")
    assert (None, list(RATES)) == (found["refusal"], found["learning_rates"])


def test_exception_of_the_users_is_a_failure() -> None:
    """An error in training is reported with its traceback, even if its message raises."""
    found = run(here("Fails"))
    assert ("error", "UnspeakableError: (its message raised ValueError)") == (
        found["outcome"],
        found["detail"],
    )
    assert "in training_step" in found["traceback"]


def test_data_without_a_full_batch_are_told_apart() -> None:
    """A batch larger than the data set has an outcome of its own."""
    found = run(here("Small"), batch_size=32, data_args={"num_samples": 31})
    assert "dataset" == found["outcome"]


def test_wrapped_workload_learns_real_digits() -> None:
    """The loss of a wrapped plain model on real images falls to a third, and rises again."""
    found = run(
        here("Digits"), here("real_digits"), rates=geometric_sweep(1e-5, 10.0, 120), batch_size=64
    )
    losses = found["losses"]
    start = median(losses[:10])
    assert math.log(10) == pytest.approx(start, rel=0.05)
    assert min(median(losses[step : step + 5]) for step in range(len(losses) - 4)) < start / 3
    assert len(losses) < 120


def test_sweep_that_hangs_is_killed_after_its_own_time(start: StartRunner) -> None:
    """A sweep has a twentieth of a probe's time per learning rate; the failure gives the sum."""
    found = start(workload("zoo.Hangs"), timeout=0.5).sweep(4, geometric_sweep(1e-6, 1.0, 40), 0)
    assert found.failure is not None
    assert ("error", "forward", "timed out after 1 s") == (
        found.failure.outcome,
        found.failure.phase,
        found.failure.detail,
    )


def test_sweep_has_no_more_than_the_seconds_that_are_left(start: StartRunner) -> None:
    """Time that runs out before the sweep's own time-out is no failure of the workload."""
    found = start(workload("zoo.Hangs")).sweep(4, RATES, 0, seconds=0.5)
    assert (True, None, None) == (found.out_of_time, found.failure, found.refusal)


def test_sweep_tells_how_many_steps_it_has_done(start: StartRunner) -> None:
    """The numbers come while it runs, from its process through its supervisor, and rise."""
    told: list[int] = []
    rates = geometric_sweep(1e-8, 1e-6, 2000)
    found = start(workload("zoo.Net", module_args={"width": 8})).sweep(
        4, rates, 0, tell_steps=told.append
    )
    assert found.curve is not None
    assert told == sorted(set(told))
    assert 0 < told[0] < told[-1] <= len(rates) == len(found.curve.losses)


def test_loud_failure_comes_through(start: StartRunner) -> None:
    """A failure with odd characters and megabytes of output keeps first line, traceback and log."""
    found = start(workload("zoo.Loud")).sweep(4, RATES, 0)
    assert found.failure is not None
    assert "ValueError: naïve \\udc80 \x00" == found.failure.detail
    traceback = found.failure.traceback or ""
    assert "in training_step" in traceback
    assert len(traceback) < 1_000_000
    assert 0 < Path(found.failure.log or "").stat().st_size < 5_000_000
