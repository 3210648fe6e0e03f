"""Trains a fresh module at given learning rates: the sweeps and the trials of an LR range test.

Each learning rate gets one optimizer step. In a sweep (Smith 2017) the rates rise, in a trial they
are all the same. A rate is that of the largest parameter group, and the others keep their ratio to
it. Groups that do not follow the workload's learning rate keep their own. The optimizer has these
rates within its step alone, so that all other code sees what it expects. Schedules change nothing,
and validation does not run.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from harness.errors import LoopEndedError
from harness.lr_range.suggestion import diverged
from harness.lr_range.trials import can_stop
from harness.memory_bounds import make_bound
from harness.probe_tasks.trainer import (
    FitWatch,
    loss_of,
    make_callback,
    make_trainer,
    prepare,
    seed_everything,
    talk_of,
)
from harness.probe_trainer.fit_failures import explain_fit
from harness.probe_trainer.optimizer_steps import watch_steps
from harness.workload import attributes
from harness.workload.build import build
from harness.workload.schedules import configured_rates, detach_schedules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.protocol.lr import SweepResult, TellSteps
    from harness.protocol.messages import Failure, Phase, SweepRequest, TellPhase
    from harness.workload.build import Workload

# A sweep gives up when it needs more accumulation windows than this per learning rate.
_MAX_WINDOWS_PER_STEP = 4
# The seconds between two reports of the steps that are done.
_TELL_SECONDS = 1.0
# Where a training may raise because of its learning rate.
_IN_STEP = ("forward", "backward", "optimizer")
# The relative difference between a rate and the float32 that an optimizer may keep it in.
_SAME_RATE = 1e-6


class SweepRefusedError(Exception):
    """The LR range test cannot judge this workload; the message is the reason."""


class SweepWatch(FitWatch):
    """Hooks of a callback that sets the learning rate of each optimizer step and keeps its loss.

    A sweep ends once the loss has clearly left its plateau. A trial has none, but a ceiling.
    """

    def __init__(
        self,
        tell: TellPhase,
        tell_steps: TellSteps,
        learning_rates: Sequence[float],
        fixed_groups: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.trial = False
        self.ceiling: float | None = None
        self.tell = tell
        self.tell_steps = tell_steps
        self.learning_rates = learning_rates
        self.fixed_groups = fixed_groups
        self.losses: list[float] = []
        self.finished = False
        self._optimizer: Any = None
        self._largest = 0.0
        self._given: list[float] = []
        self._outside: list[Any] = []
        self._asked: list[float] = []
        self._window: list[float] = []
        self._num_batches = 0
        self._num_in_window = 0
        self._stepped = False
        self._told = time.monotonic()

    def on_fit_start(self, *_: Any) -> None:
        self.tell("data")

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._take_over(trainer, module)

    def _take_over(self, trainer: Any, module: Any) -> None:
        """Read the configured rates, detach the schedules, and hook the steps of the optimizer."""
        if len(trainer.optimizers) != 1:
            raise SweepRefusedError(
                f"the workload has {len(trainer.optimizers)} optimizers: an LR range test needs "
                "exactly one"
            )
        self._optimizer = optimizer = trainer.optimizers[0]
        if not getattr(module, "shows_optimizer", True):
            raise SweepRefusedError(
                "the training shows no optimizer, whose learning rates would be set: give its "
                "object an attribute `optimizer`"
            )
        if (refusal := getattr(module, "sweep_refusal", None)) is not None:
            raise SweepRefusedError(refusal)
        given = configured_rates(
            optimizer, [config.scheduler for config in trainer.lr_scheduler_configs]
        )
        self._given = [rate for rate in given if rate is not None]
        if len(self._given) < len(given):
            raise SweepRefusedError(
                "the optimizer chooses its learning rate itself: there is nothing to scale"
            )
        following = set(range(len(given))).difference(self.fixed_groups)
        self._largest = max((self._given[number] for number in following), default=0.0)
        if not self._largest > 0:
            raise SweepRefusedError(
                f"the optimizer's learning rate is {self._largest:g}: there is nothing to scale"
            )
        detach_schedules(trainer, getattr(module, "training_object", module), optimizer)
        for group, rate in zip(optimizer.param_groups, self._given, strict=True):
            _set_rate(group, rate)
        watch_steps(optimizer, before=self._before_step, after=self._after_step)

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.optimizers[0] is not self._optimizer:
            self._take_over(trainer, module)  # a callback that thaws parts may have set a new one
        self.tell("forward")

    def on_before_backward(self, *_: Any) -> None:
        self.tell("backward")

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.tell("optimizer")

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self._num_batches += 1
        # Callbacks and hooks may set it, and change it from epoch to epoch.
        accumulate = trainer.accumulate_grad_batches
        loss = loss_of(outputs)
        if loss is None and not module.automatic_optimization:
            raise SweepRefusedError("step() returns no loss, and a range test goes by losses")
        if loss is not None:  # a training step may return None: the batch is skipped
            # Lightning divides the loss by the number of accumulated batches.
            self._window.append(float(loss) * accumulate)
        self._num_in_window += 1
        # An epoch's last batch steps, too, whatever is accumulated.
        if self._num_in_window < accumulate and not trainer.is_last_batch:
            return
        self._num_in_window = 0
        window, self._window = self._window, []
        if self._stepped and window:
            loss = math.fsum(window) / len(window)
            # All ranks go by the mean, so that they end together.
            self.losses.append(loss if self.ranks is None else self.ranks.mean(loss))
        elif self._num_batches > _MAX_WINDOWS_PER_STEP * accumulate * len(self.learning_rates):
            raise SweepRefusedError(
                f"only {len(self.losses)} of {self._num_batches} batches took a step"
            )
        self._stepped = False
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            self.tell_steps(len(self.losses))
        done = len(self.losses) == len(self.learning_rates)
        self.finished = trainer.should_stop = (
            done or (bool(self.losses) and not math.isfinite(self.losses[-1])) or self._diverged()
        )
        self.tell("data")

    def _diverged(self) -> bool:
        if self.trial:
            return can_stop(self.losses, self.ceiling)
        return diverged(self.losses, len(self.learning_rates))

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        groups = optimizer.param_groups
        # A group that was added meanwhile was given its rate beside those that were configured.
        self._given += [float(group["lr"]) for group in groups[len(self._given) :]]
        rate = self.learning_rates[len(self.losses)]
        self._outside = [group["lr"] for group in groups]
        self._asked = [
            given if number in self.fixed_groups else rate * (given / self._largest)
            for number, given in enumerate(self._given)
        ]
        for group, asked in zip(groups, self._asked, strict=False):
            _set_rate(group, asked)

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        self._stepped = True
        # After the step, because the user's code may change the rates in the closure, which runs
        # within the step.
        for group, asked, outside in zip(
            optimizer.param_groups, self._asked, self._outside, strict=False
        ):
            if not math.isclose(float(group["lr"]), asked, rel_tol=_SAME_RATE):
                raise SweepRefusedError(
                    "the workload sets the learning rate of its optimizer itself, and so overrides "
                    "the sweep's"
                )
            group["lr"] = outside


def _set_rate(group: dict[str, Any], rate: float) -> None:
    """Set the rate of a group; where it is a tensor, it stays one."""
    before = group["lr"]
    group["lr"] = rate if isinstance(before, float | int) else before * 0 + rate


def sweep(
    workload: Workload, request: SweepRequest, tell: TellPhase, tell_steps: TellSteps
) -> SweepResult | Failure:
    """Train at the rates; return the raw losses and a possible refusal, or the failure."""
    tell("setup")
    seed_everything(request["seed"])
    bound = make_bound(request["bound"])
    rates = request["learning_rates"]
    refusal: str | None = None
    ended_by: str | None = None
    watch: Any = None
    phase: Phase = "setup"

    def noting(now: Phase) -> None:
        nonlocal phase
        phase = now
        tell(now)

    try:
        bound.start()
        # The search has found a batch that fits, perhaps to the byte. Under the same limit, noise
        # could end a sweep.
        bound.lift()
        fresh = build(workload.spec)
        watch = make_callback(
            fresh.lightning, SweepWatch, noting, tell_steps, rates, request["fixed_groups"]
        )
        watch.ranks = talk_of(bound)
        watch.trial, watch.ceiling = request["trial"], request["ceiling"]
        _refuse_unsuitable(fresh)
        if request["learning_rate"] is not None:
            attributes.set_learning_rate(
                fresh.module,
                fresh.datamodule,
                request["learning_rate"],
                attr=fresh.spec["learning_rate_attr"],
            )
        trainer = make_trainer(
            fresh,
            bound,
            request["trainer"],
            callbacks=[watch],
            whole_epochs=request["whole_epochs"],
        )
        prepare(
            fresh,
            trainer,
            bound,
            request["batch_size"],
            worst_case=False,
            endless=not request["whole_epochs"],
        )
        trainer.fit(fresh.module, datamodule=fresh.datamodule)
        if watch.ranks is not None:
            watch.ranks.leave()
        if not watch.finished:
            raise SweepRefusedError(  # noqa: TRY301 - reported like any other refusal
                f"the workload ended its training itself after {len(watch.losses)} of {len(rates)} "
                "steps: see what sets `trainer.should_stop`, or returns -1 from "
                "`on_train_batch_start`"
            )
    except BaseException as raised:  # noqa: BLE001 - any end of the training is the answer
        error = (watch and watch.error) or raised
        if isinstance(error, (SweepRefusedError, LoopEndedError)):
            refusal = str(error)
        else:
            failure = explain_fit(raised, workload, watch, noting, request["bound"]["accelerator"])
            # The first step is the same at any rate, so what it raises is no matter of the rate.
            in_a_step = watch is not None and bool(watch.losses) and phase in _IN_STEP
            if failure["outcome"] != "error" or not in_a_step:
                return failure
            ended_by = failure["detail"]
    return {
        "outcome": "fits",
        "refusal": refusal,
        "raised": ended_by,
        "learning_rates": rates[: len(watch.losses)] if watch else [],
        "losses": watch.losses if watch else [],
    }


def _refuse_unsuitable(workload: Workload) -> None:
    """Raise SweepRefusedError for synthetic data and for manual optimization."""
    if workload.synthetic:
        raise SweepRefusedError("the data are synthetic: there is nothing to learn")
    manual = not workload.module.automatic_optimization
    if manual and workload.spec.get("training") is None:
        raise SweepRefusedError(
            "the workload uses manual optimization: a sweep cannot control its optimizer steps"
        )
