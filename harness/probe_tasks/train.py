"""Trains one batch size: bounds the memory, runs the user's real training, reports the outcome."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.failures.crowding import blamed
from harness.loaders.validation_loaders import validate_on_full_batches
from harness.memory_bounds import make_bound
from harness.probe_tasks.growth import Kept, found, num_batches, projected, steps_of
from harness.probe_tasks.trainer import (
    FitWatch,
    TrainingData,
    consistent_zeros_of,
    loss_of,
    make_callback,
    make_trainer,
    seed_everything,
    talk_of,
)
from harness.probe_trainer.fit_failures import explain_fit
from harness.probe_trainer.optimizer_steps import watch_steps
from harness.workload.thawing import thaws_later

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.probe_tasks.zeros.decisions import Decisions
    from harness.protocol.messages import Failure, TellPhase, TrainRequest, TrainResult
    from harness.workload.build import Workload

# A probe adds at most this many steps to the requested ones while its peak grows.
_MAX_EXTRA_STEPS = 8
# A peak is steady if it grows by at most this share of the limit from one step to the next ...
_STEADY = 1e-3
# ... or by at most this many bytes: a library may make an allocation or two late.
_STEADY_BYTES = 256 << 10
# The share of its limit that training may take while the validation batch is searched for.
_SETTLED_SHARE = 1.02
# The end of an error's line where a value was read before.
_ZEROS = "and values are zeros on a simulated GPU"
# The steps of a second epoch that show whether the end of the first has given memory back.
_STEPS_OF_NEXT_EPOCH = 3
# A probe gives up when it needs more batches than this per optimizer step.
_MAX_BATCHES_PER_STEP = 30


class TrainingEndedError(HarnessError):
    """The workload ended its training before the probe had run its steps."""


class StepWatch(FitWatch):
    """Hooks of a callback that reports each phase, counts effective steps and ends the fit."""

    def __init__(self, bound: MemoryBound, tell: TellPhase, request: TrainRequest) -> None:
        super().__init__()
        self.bound = bound
        self.tell = tell
        self.steps = steps = request["steps"]
        # One step alone cannot show whether the peak grows.
        self.settles = request["settle"] and steps > 1
        self.validation_share = request["validation_share"]
        self.varies_validation = request["validation_batch_size"] is not None
        self.snapshot = request["snapshot"]
        self.max_batches = _MAX_BATCHES_PER_STEP * (steps + _MAX_EXTRA_STEPS)
        self.epoch_steps = request["epoch_steps"]
        self.accumulated: int = request["trainer"].get("accumulate_grad_batches", 1)
        self.micro_batches = request["micro_batches"]
        self.kept = Kept("training", bound)
        self.validation_kept = Kept("validation", bound)
        self.peaks: list[int] = []
        self.num_batches = 0
        self.timed_batches = 0
        self.timed_seconds = 0.0
        # Of these, the batches with an optimizer step.
        self.timed_steps = 0
        self.step_seconds = 0.0
        self.grew = False
        self.last_loss = 0.0
        self.thawing: str | None = None
        self._stepped = False
        self._watched: list[Any] = []
        self._batches_per_pass = math.inf
        self._since: float | None = None

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        super().setup(trainer, module, stage)
        if not hasattr(type(module), "is_loop"):  # a training wraps its model itself
            self.bound.engage_before_wrapping(trainer)

    def on_fit_start(self, _trainer: Any, module: Any) -> None:
        self.tell("data")
        self.bound.engage(module)
        if self.varies_validation:
            # Training's batch fits, perhaps to the byte: a page more must not end it here.
            self.bound.rescale(_SETTLED_SHARE)

    def on_train_start(self, trainer: Any, _module: Any) -> None:
        self._watch(trainer.optimizers)

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        self._batches_per_pass = trainer.num_training_batches

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        self._watch(trainer.optimizers)  # callbacks that thaw parts may have set new ones
        if not self.num_batches:
            self.thawing = thaws_later(module, trainer.callbacks, trainer.optimizers)
        self.tell("forward")

    def on_before_backward(self, *_: Any) -> None:
        self.tell("backward")
        self.bound.peak_bytes()  # notes also what is shared only while a step runs

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.tell("optimizer")

    def on_train_batch_end(self, trainer: Any, _module: Any, outputs: Any, *_: Any) -> None:
        self.num_batches += 1
        # A training step may return None, and with manual optimization anything.
        with suppress(TypeError, ValueError, RuntimeError):
            self.last_loss = float(loss_of(outputs))
        now = time.perf_counter()
        # Not the first batch: it also pays for kernels and caches that are chosen once.
        if self._since is not None:
            self.timed_batches += 1
            self.timed_seconds += now - self._since
            if self._stepped:
                self.timed_steps += 1
                self.step_seconds += now - self._since
        if self._stepped:
            self._stepped = False
            self.peaks.append(self.bound.peak_bytes())
            if self.epoch_steps:
                batches_per_step = self.num_batches / len(self.peaks)
                self.kept.pass_steps = steps_of(self._batches_per_pass, batches_per_step)
            self.kept.add(whole_epochs=self.epoch_steps > 0)
            if len(self.peaks) == 1:
                self.bound.warmed_up()
            # A stop also makes Lightning validate within the fit, while all of training's state is
            # alive.
            enough = self._is_whole() if self.epoch_steps else self._is_enough()
            # A rank that went on alone would wait for the others for ever.
            trainer.should_stop = enough if self.ranks is None else self.ranks.all(enough)
        # Callbacks and hooks may change the accumulation while the training runs.
        elif self.num_batches >= self.max_batches * trainer.accumulate_grad_batches:
            raise RuntimeError(f"no optimizer step took effect in {self.num_batches} batches")
        self.tell("data")
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: Any, *_: Any) -> None:
        self.tell("validation")
        self.bound.rescale(self.validation_share)
        if self.varies_validation:
            self.bound.begin_validation()
        self.validation_kept = Kept("validation", self.bound)
        self.validation_kept.pass_steps = num_batches(trainer.val_dataloaders)

    def on_validation_batch_end(self, *_: Any) -> None:
        self.validation_kept.add(whole_epochs=self.epoch_steps > 0)

    def on_validation_end(self, *_: Any) -> None:
        self.tell("end of training")

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        super().on_exception(trainer, module, exception)
        if self.snapshot is not None:
            # CUDA may have failed for good, and then there is no snapshot, only the failure.
            with suppress(Exception):
                self.bound.dump(self.snapshot)
        self.bound.lift()

    def _is_enough(self) -> bool:
        """Return whether a training whose data repeat for ever has shown its peak."""
        if self.kept.grows:
            return True  # a probe of whole epochs has to follow
        enough = len(self.peaks) >= self.steps
        steady = len(self.peaks) > 1 and self._is_steady(
            self.peaks[-1], self.peaks[-1] - self.peaks[-2]
        )
        self.grew = self.settles and not steady and len(self.peaks) >= self.steps + _MAX_EXTRA_STEPS
        # Memory that each step has kept so far needs a few steps more to be told from noise.
        settled = (steady or not self.settles) and not self.kept.undecided
        return (enough and settled) or self.grew

    def _is_whole(self) -> bool:
        """Return whether an epoch has ended, and the next has begun; or whether it is too long."""
        wanted = self.epoch_steps
        if self.kept.pass_steps is not None:
            wanted = min(wanted, self.kept.pass_steps + _STEPS_OF_NEXT_EPOCH)
        return len(self.peaks) >= max(self.steps, wanted)

    def _is_steady(self, peak: int, growth: int) -> bool:
        """Return whether the peak is steady, or grows too slowly to reach the limit.

        Too slowly means: not even `_MAX_EXTRA_STEPS` steps of this growth reach the limit.
        """
        limit = self.bound.limit_bytes
        return (
            growth <= max(_STEADY * limit, _STEADY_BYTES)
            or _MAX_EXTRA_STEPS * growth <= limit - peak
        )

    def require_all_steps(self) -> None:
        """Raise TrainingEndedError where the training ended before its steps were done."""
        if len(self.peaks) < self.steps:
            raise TrainingEndedError(
                f"the training ended itself after {len(self.peaks)} of {self.steps} optimizer "
                "steps: see what sets `trainer.should_stop`, or returns -1 from "
                "`on_train_batch_start`"
            )

    def peak_bytes(self) -> int:
        """Return the peak of the phase whose batch the probe varies.

        It is the peak of validation alone, as far as the device can tell, or of the whole training.
        """
        if self.varies_validation:
            return self.bound.validation_peak_bytes()
        return max(self.bound.peak_bytes(), *self.peaks, 0)

    def samples_per_second(self, batch_size: int) -> float | None:
        """Return samples per second after the first batch; None if there was no other batch."""
        if not self.timed_seconds:
            return None
        others = self.timed_batches - self.timed_steps
        if self.micro_batches is not None and self.timed_steps and others:
            # In training a step follows after more batches than here.
            without = (self.timed_seconds - self.step_seconds) / others
            seconds = (self.accumulated - 1) * without + self.step_seconds / self.timed_steps
            return float(self.accumulated * batch_size / seconds)
        return self.timed_batches * batch_size / self.timed_seconds

    def _watch(self, optimizers: list[Any]) -> None:
        for optimizer in optimizers:
            if not any(optimizer is known for known in self._watched):
                self._watched.append(optimizer)
                watch_steps(optimizer, after=self._after_step)

    def _after_step(self, *_: Any) -> None:
        self._stepped = True


def train(
    workload: Workload,
    request: TrainRequest,
    tell: TellPhase,
    watch_class: type[StepWatch] = StepWatch,
    data: TrainingData = TrainingData(),  # noqa: B008 - it has no state
) -> TrainResult:
    """Train one batch size and return the outcome, whatever the user's training raises.

    data: what to train on, in place of the workload's own data.
    """
    tell("setup")
    seed_everything()
    bound = make_bound(request["bound"])
    batch_size = request["batch_size"]
    watch = make_callback(workload.lightning, watch_class, bound, tell, request)
    watch.ranks = talk_of(bound)
    failure: Failure | None = None
    decisions: Decisions | None = None
    excess: str | None = None
    worst_notes: Callable[[], list[str]] = list
    try:
        workload = data.build(workload)
        bound.start()
        if watch.snapshot is not None or request["history"] is not None:
            bound.record(stacks=watch.snapshot is not None)
        with consistent_zeros_of(request["bound"]) as decisions:
            trainer = make_trainer(
                workload,
                bound,
                request["trainer"],
                limit_val_batches=request["validation_steps"],
                callbacks=[watch],
                whole_epochs=request["epoch_steps"] > 0,
                micro_batches=request["micro_batches"],
            )
            endless = not request["epoch_steps"]
            # What is timed is to be a training's usual step.
            worst_case = "timed_seconds" not in request
            worst_notes = data.prepare(
                workload, trainer, bound, batch_size, endless=endless, worst_case=worst_case
            )
            if request["validation_batch_size"] is not None:
                validate_on_full_batches(trainer, workload, request["validation_batch_size"])
            trainer.fit(workload.module, datamodule=workload.datamodule)
        if watch.ranks is not None:
            watch.ranks.leave()
        watch.require_all_steps()
        excess = bound.excess()
        if request["history"] is not None and not watch.kept.suspicious:
            # A replay of these steps would overlook what further steps keep. The training fits,
            # whatever becomes of the file; without it the search goes by peaks.
            with suppress(Exception):
                bound.write_history(request["history"])
    except BaseException as error:  # noqa: BLE001 - whatever ends the user's training is the answer
        bound.lift()
        accelerator = request["bound"]["accelerator"]
        failure = explain_fit(error, workload, watch, tell, accelerator)
        failure = blamed(failure, bound, watch.memory)
    bound.lift()
    growth = found(
        watch.kept,
        watch.validation_kept,
        endless=not request["epoch_steps"],
        failed=failure is not None,
    )
    peak = watch.peak_bytes()
    if failure is None and request["epoch_steps"]:
        peak, words = projected(watch.kept, watch.validation_kept, peak)
        excess = excess or (words if peak > bound.limit_bytes else None)
    if failure is None and excess is not None:
        failure = {"outcome": "oom", "detail": excess, "traceback": None}
    values_read = None if decisions is None else decisions.last_read
    if failure is not None and failure["outcome"] == "error" and values_read is not None:
        detail = f"{failure['detail']} ({values_read} read a value, {_ZEROS})"
        failure = {**failure, "detail": detail}
    return {
        "outcome": "fits" if failure is None else failure["outcome"],
        "detail": None if failure is None else failure["detail"],
        "traceback": None if failure is None else failure["traceback"],
        "batch_size": batch_size,
        "peak_memory_bytes": peak,
        **bound.facts(),
        "memory_limit_bytes": bound.limit_bytes,
        "samples": watch.num_batches * batch_size,
        "steps": len(watch.peaks),
        "samples_per_second": watch.samples_per_second(batch_size),
        "growing": watch.grew,
        "growth": growth,
        "above_limit": failure is not None and failure["detail"] == excess,
        "finite_loss": math.isfinite(watch.last_loss),
        "notes": [
            *([] if watch.thawing is None else [watch.thawing]),
            *worst_notes(),
            *([] if workload.configured is None else workload.configured.notes),
            *([] if decisions is None else decisions.notes()),
        ],
        "values_read": values_read,
        "rank": None,
    }
