"""The child side of the LR range test: one sweep of the learning rate with a fresh module (Smith 2017).

One optimizer step per learning rate. All parameter groups are scaled by a common factor; the learning rate
that is recorded is the largest group's. Schedulers are off, validation is not run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.devices import make_bound
from harness.explaining import explain
from harness.lr_range import diverged
from harness.trainer import Watch, loss_of, make_callback, make_trainer, seed_everything
from harness.trial import Report, prepare
from harness.workload import build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.workload import Workload

# Windows without an optimizer step, per learning rate, after which a sweep gives up.
_MAX_WINDOWS_PER_STEP = 4


class SweepRefusedError(Exception):
    """The range test says nothing about this workload; the message says why."""


class SweepWatch(Watch):
    """Callback that sets the learning rate of each optimizer step and records the loss it saw."""

    def __init__(self, report: Report, learning_rates: Sequence[float], accumulate: int) -> None:
        super().__init__()
        self.report = report
        self.learning_rates = learning_rates
        self.accumulate = accumulate
        self.losses: list[float] = []
        self.seen: list[float] = []
        self.finished = False
        self._scales: list[float] = []
        self._optimizer: Any = None
        self._window: list[float] = []
        self._num_batches = 0
        self._stepped = False

    def on_fit_start(self, *_: Any) -> None:
        self.report("data")

    def on_train_start(self, trainer: Any, _module: Any) -> None:
        trainer.strategy.lr_scheduler_configs = []
        if len(trainer.optimizers) != 1:
            raise SweepRefusedError(
                f"the workload has {len(trainer.optimizers)} optimizers: a range test moves one learning rate"
            )
        self._optimizer = trainer.optimizers[0]
        # A scheduler with a warm-up has already lowered `lr`; it leaves the real one in `initial_lr`.
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
        # After the step: the closure, in which the user's code may set another rate, runs inside of it.
        self._optimizer.register_step_post_hook(self._after_step)

    def on_train_batch_start(self, *_: Any) -> None:
        self.report("forward")
        rate = self.learning_rates[len(self.losses)]
        for group, scale in zip(self._optimizer.param_groups, self._scales, strict=True):
            group["lr"] = rate * scale

    def on_before_backward(self, *_: Any) -> None:
        self.report("backward")

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.report("optimizer")

    def on_train_batch_end(self, trainer: Any, _module: Any, outputs: Any, *_: Any) -> None:
        self._num_batches += 1
        loss = loss_of(outputs)
        if loss is not None:  # a training step may return None: the batch is skipped
            # Lightning gives the loss divided by the number of accumulated batches.
            self._window.append(float(loss) * self.accumulate)
        if self._num_batches % self.accumulate:
            return
        window, self._window = self._window, []
        if self._stepped and window:
            self.losses.append(math.fsum(window) / len(window))
        elif self._num_batches > _MAX_WINDOWS_PER_STEP * self.accumulate * len(self.learning_rates):
            raise SweepRefusedError(f"only {len(self.losses)} of {self._num_batches} batches took a step")
        self._stepped = False
        done = len(self.losses) == len(self.learning_rates)
        self.finished = trainer.should_stop = (
            done
            or (bool(self.losses) and not math.isfinite(self.losses[-1]))
            or diverged(self.losses, len(self.learning_rates))
        )
        self.report("data")

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        self._stepped = True
        if len(self.seen) == len(self.losses):
            self.seen.append(max(float(group["lr"]) for group in optimizer.param_groups))


def run(workload: Workload, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Sweep the learning rate over `request["learning_rates"]` with `seed`, at `batch_size`.

    Returns `outcome`; when it is `fits`: `learning_rates` (what the optimizer used) and `losses` (raw, one
    per optimizer step; fewer than asked for when the loss diverged), or a `refusal`.
    """
    report("setup")
    seed_everything(int(request["seed"]))
    bound = make_bound(request["bound"])
    rates: list[float] = request["learning_rates"]
    accumulate = int(request["trainer"].get("accumulate_grad_batches", 1))
    refusal: str | None = None
    watch: Any = None
    try:
        bound.start()
        # The search has settled what fits. A limit that is met to the byte would now let noise end a sweep.
        bound.lift()
        fresh = build(workload.spec)
        watch = make_callback(fresh.lightning, SweepWatch, report, rates, accumulate)
        _refuse_unsuitable(fresh)
        prepare(fresh, int(request["batch_size"]), worst_case=False)
        trainer = make_trainer(fresh, bound, request["trainer"], limit_val_batches=0, callbacks=[watch])
        trainer.fit(fresh.module, datamodule=fresh.datamodule)
        if not watch.finished:
            raise SweepRefusedError(  # noqa: TRY301 - told like any other refusal
                f"the workload ended its training itself after {len(watch.losses)} of {len(rates)} steps: see what "
                "sets `trainer.should_stop`, or returns -1 from `on_train_batch_start`"
            )
    except BaseException as raised:  # noqa: BLE001 - whatever ends the user's training is the answer
        error = (watch and watch.error) or raised
        if not isinstance(error, SweepRefusedError):
            return explain(error, watch and watch.memory, request["bound"]["accelerator"])
        refusal = str(error)
    used = watch.seen[: len(watch.losses)]
    if refusal is None and any(
        not math.isclose(seen, asked, rel_tol=1e-6) for seen, asked in zip(used, rates, strict=False)
    ):
        refusal = (
            "the workload sets the learning rate of its optimizer itself: the one of the sweep never held"
        )
    return {"outcome": "fits", "refusal": refusal, "learning_rates": used, "losses": watch.losses}


def _refuse_unsuitable(workload: Workload) -> None:
    """Raise SweepRefusedError for a workload that a sweep can say nothing about."""
    if workload.synthetic:
        raise SweepRefusedError("the data are synthetic: there is nothing to learn")
    if not workload.module.automatic_optimization:
        raise SweepRefusedError(
            "the workload uses manual optimization: its optimizer steps are its own affair"
        )
