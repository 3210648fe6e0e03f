"""Sweeps the learning rate of a fresh module: the LR range test (Smith 2017).

Each learning rate gets one optimizer step. All parameter groups are scaled by a common factor, and
the largest group's learning rate is recorded. Schedulers are off, and validation does not run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.failures.explain import explain
from harness.lr_range.suggestion import diverged
from harness.memory_bounds import make_bound
from harness.probe_tasks.optimizer_steps import watch_steps
from harness.probe_tasks.trainer import (
    FitWatch,
    loss_of,
    make_callback,
    make_trainer,
    prepare,
    seed_everything,
)
from harness.workload.build import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.protocol import Failure, SweepRequest, SweepResult, TellPhase
    from harness.workload.build import Workload

# A sweep gives up when it needs more accumulation windows than this per learning rate.
_MAX_WINDOWS_PER_STEP = 4


class SweepRefusedError(Exception):
    """The LR range test cannot judge this workload; the message is the reason."""


class SweepWatch(FitWatch):
    """Hooks of a callback that sets the learning rate of each optimizer step and keeps its loss."""

    def __init__(self, tell: TellPhase, learning_rates: Sequence[float]) -> None:
        super().__init__()
        self.tell = tell
        self.learning_rates = learning_rates
        self.losses: list[float] = []
        self.seen: list[float] = []
        self.finished = False
        self._scales: list[float] = []
        self._optimizer: Any = None
        self._window: list[float] = []
        self._num_batches = 0
        self._stepped = False

    def on_fit_start(self, *_: Any) -> None:
        self.tell("data")

    def on_train_start(self, trainer: Any, _module: Any) -> None:
        trainer.strategy.lr_scheduler_configs = []
        if len(trainer.optimizers) != 1:
            raise SweepRefusedError(
                f"the workload has {len(trainer.optimizers)} optimizers: an LR range test needs "
                "exactly one"
            )
        self._optimizer = trainer.optimizers[0]
        # A scheduler with a warm-up has already lowered `lr`; the original is in `initial_lr`.
        given = [group.get("initial_lr", group.get("lr")) for group in self._optimizer.param_groups]
        if None in given:
            raise SweepRefusedError(
                "the optimizer chooses its learning rate itself: there is nothing to scale"
            )
        rates = [float(rate) for rate in given]
        largest = max(rates)
        if not largest > 0:
            raise SweepRefusedError(
                f"the optimizer's learning rate is {largest:g}: there is nothing to scale"
            )
        self._scales = [rate / largest for rate in rates]
        # The rates are read after the step, because the user's code may change them in the closure,
        # which runs within the step.
        watch_steps(self._optimizer, after=self._after_step)

    def on_train_batch_start(self, *_: Any) -> None:
        self.tell("forward")
        rate = self.learning_rates[len(self.losses)]
        for group, scale in zip(self._optimizer.param_groups, self._scales, strict=True):
            group["lr"] = rate * scale

    def on_before_backward(self, *_: Any) -> None:
        self.tell("backward")

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.tell("optimizer")

    def on_train_batch_end(self, trainer: Any, _module: Any, outputs: Any, *_: Any) -> None:
        self._num_batches += 1
        # Callbacks and hooks may set it, and change it from epoch to epoch.
        accumulate = trainer.accumulate_grad_batches
        loss = loss_of(outputs)
        if loss is not None:  # a training step may return None: the batch is skipped
            # Lightning divides the loss by the number of accumulated batches.
            self._window.append(float(loss) * accumulate)
        if self._num_batches % accumulate:
            return
        window, self._window = self._window, []
        if self._stepped and window:
            self.losses.append(math.fsum(window) / len(window))
        elif self._num_batches > _MAX_WINDOWS_PER_STEP * accumulate * len(self.learning_rates):
            raise SweepRefusedError(
                f"only {len(self.losses)} of {self._num_batches} batches took a step"
            )
        self._stepped = False
        done = len(self.losses) == len(self.learning_rates)
        self.finished = trainer.should_stop = (
            done
            or (bool(self.losses) and not math.isfinite(self.losses[-1]))
            or diverged(self.losses, len(self.learning_rates))
        )
        self.tell("data")

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        self._stepped = True
        if len(self.seen) == len(self.losses):
            self.seen.append(max(float(group["lr"]) for group in optimizer.param_groups))


def sweep(workload: Workload, request: SweepRequest, tell: TellPhase) -> SweepResult | Failure:
    """Sweep the learning rate; return the raw losses and a possible refusal, or the failure."""
    tell("setup")
    seed_everything(request["seed"])
    bound = make_bound(request["bound"])
    rates = request["learning_rates"]
    refusal: str | None = None
    watch: Any = None
    try:
        bound.start()
        # The search has found a batch that fits, perhaps to the byte. Under the same limit, noise
        # could end a sweep.
        bound.lift()
        fresh = build(workload.spec)
        watch = make_callback(fresh.lightning, SweepWatch, tell, rates)
        _refuse_unsuitable(fresh)
        trainer = make_trainer(
            fresh, bound, request["trainer"], limit_val_batches=0, callbacks=[watch]
        )
        prepare(fresh, trainer, bound, request["batch_size"], worst_case=False)
        trainer.fit(fresh.module, datamodule=fresh.datamodule)
        if not watch.finished:
            raise SweepRefusedError(  # noqa: TRY301 - reported like any other refusal
                f"the workload ended its training itself after {len(watch.losses)} of {len(rates)} "
                "steps: see what sets `trainer.should_stop`, or returns -1 from "
                "`on_train_batch_start`"
            )
    except BaseException as raised:  # noqa: BLE001 - any end of the training is the answer
        error = (watch and watch.error) or raised
        if not isinstance(error, SweepRefusedError):
            return explain(error, watch and watch.memory, request["bound"]["accelerator"])
        refusal = str(error)
    used = watch.seen[: len(watch.losses)]
    if refusal is None and any(
        not math.isclose(seen, asked, rel_tol=1e-6)
        for seen, asked in zip(used, rates, strict=False)
    ):
        refusal = (
            "the workload sets the learning rate of its optimizer itself, and so overrides the "
            "sweep's"
        )
    return {"outcome": "fits", "refusal": refusal, "learning_rates": used, "losses": watch.losses}


def _refuse_unsuitable(workload: Workload) -> None:
    """Raise SweepRefusedError for synthetic data and for manual optimization."""
    if workload.synthetic:
        raise SweepRefusedError("the data are synthetic: there is nothing to learn")
    if not workload.module.automatic_optimization:
        raise SweepRefusedError(
            "the workload uses manual optimization: a sweep cannot control its optimizer steps"
        )
