"""Trains one batch size without a limit, and writes what holds the memory at the peak."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.probe_tasks.attribution import (
    ACTIVATION,
    TRAINING_STEP,
    VALIDATION_STEP,
    Running,
)
from harness.probe_tasks.recordings.cuda import CudaRecording, NoHistoryError, NoLimit
from harness.probe_tasks.recordings.host import HostNoLimit, HostRecording
from harness.probe_tasks.train import StepWatch
from harness.probe_tasks.trainer import (
    consistent_zeros_of,
    make_callback,
    make_trainer,
    prepare,
    seed_everything,
    talk_of,
)
from harness.probe_trainer.fit_failures import explain_fit
from harness.probe_trainer.optimizer_steps import watch_steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.protocol.messages import (
        Failure,
        HoldersRequest,
        HoldersResult,
        TellPhase,
        TrainRequest,
    )
    from harness.workload.build import Workload

    Recording = CudaRecording | HostRecording


class HoldersWatch(StepWatch):
    """Callback that trains like a probe, and notes for whom the allocator works."""

    def __init__(
        self, bound: MemoryBound, tell: TellPhase, request: TrainRequest, recording: Recording
    ) -> None:
        super().__init__(bound, tell, request)
        self.recording = recording
        self.following = ExitStack()
        self._automatic = True
        # The phase after a backward pass: the same one, where the optimizer follows.
        self._backward_lasts = False

    @property
    def _step(self) -> int:
        return min(len(self.peaks) + 1, self.steps)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        attribution = self.recording.attribution
        attribution.label([*module.parameters(), *module.buffers()], "parameter")
        attribution.follow_modules(module)
        attribution.follow_gradients(module.parameters())
        for optimizer in trainer.optimizers:
            states = (value for state in optimizer.state.values() for value in state.values())
            attribution.label(filter(torch.is_tensor, states), "optimizer")
            watch_steps(optimizer, before=self._before_step)
        self._automatic = module.automatic_optimization
        self._follow_buckets(trainer.strategy.model)
        self.following.enter_context(attribution.following_backward(self._in_backward))
        # After `_before_step`: this notes the end of the step.
        super().on_train_start(trainer, module)

    def _follow_buckets(self, wrapped: Any) -> None:
        """Note the buckets in which ranks add up gradients; a first step makes them anew."""
        if not isinstance(wrapped, torch.nn.parallel.DistributedDataParallel):
            return
        model: Any = wrapped  # torch leaves the method untyped
        before = model._pre_forward  # noqa: SLF001 - it has no public name

        @wraps(before)
        def followed(*inputs: Any, **named: Any) -> Any:
            with self.recording.attribution.running(Running("gradient", "")):
                return before(*inputs, **named)

        model._pre_forward = followed  # noqa: SLF001 - likewise

    def on_train_batch_start(self, *arguments: Any) -> None:
        self._backward_lasts = False
        self._enter("forward", ACTIVATION, TRAINING_STEP)
        super().on_train_batch_start(*arguments)

    def on_before_backward(self, *arguments: Any) -> None:
        self._backward_lasts = self._automatic
        super().on_before_backward(*arguments)

    @contextmanager
    def _in_backward(self) -> Iterator[None]:
        before = self.recording.attribution.begin_phase(f"step {self._step} backward")
        try:
            yield
        finally:
            if not self._backward_lasts:
                self.recording.attribution.begin_phase(before)

    def on_before_optimizer_step(self, trainer: Any, module: Any, *arguments: Any) -> None:
        gradients = [parameter.grad for parameter in module.parameters()]
        self.recording.attribution.label(gradients, "gradient")
        self._enter("optimizer", "optimizer", "")
        super().on_before_optimizer_step(trainer, module, *arguments)

    def _before_step(self, _optimizer: Any, arguments: Any, named: Any) -> None:
        # With a closure the forward and the backward pass are part of the step.
        if not any(map(callable, (*arguments, *named.values()))):
            self._enter("optimizer", "optimizer", "")

    def _after_step(self, *arguments: Any) -> None:
        super()._after_step(*arguments)
        attribution = self.recording.attribution
        attribution.begin(Running(ACTIVATION, TRAINING_STEP))
        if not self._automatic:
            attribution.begin_phase(f"step {self._step} forward")

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.recording.attribution.begin(Running(ACTIVATION, TRAINING_STEP))
        super().on_train_batch_end(*arguments)

    def on_validation_start(self, *arguments: Any) -> None:
        attribution = self.recording.attribution
        attribution.begin_evaluation()
        attribution.begin_phase("validation")
        attribution.begin(Running(ACTIVATION, VALIDATION_STEP))
        super().on_validation_start(*arguments)

    def on_train_end(self, *_: Any) -> None:
        self.recording.stop()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.recording.stop()
        super().on_exception(trainer, module, exception)

    def follow_batches(self, strategy: Any) -> None:
        """Note when a batch moves to the GPU."""
        attribution, move = self.recording.attribution, strategy.batch_to_device

        @wraps(move)
        def batch_to_device(*arguments: Any, **named: Any) -> Any:
            if attribution.phases[-1].phase != "validation":
                attribution.begin_phase("batch")
            with attribution.running(Running("input", "")):
                batch = move(*arguments, **named)
            if isinstance(self.recording, HostRecording):
                self.recording.moved(batch)
            return batch

        strategy.batch_to_device = batch_to_device

    def _enter(self, phase: str, kind: str, module: str) -> None:
        attribution = self.recording.attribution
        attribution.begin_phase(f"step {self._step} {phase}")
        attribution.begin(Running(kind, module))


def holders(
    workload: Workload, request: HoldersRequest, tell: TellPhase
) -> HoldersResult | Failure:
    """Train one batch size, and write what holds the memory at its peak.

    A second batch size, if one is asked for, is trained first, in a fork of this probe.
    """
    tell("setup")
    smaller = request.get("smaller")
    if smaller is not None and _can_fork():
        _in_fork(workload, {**request, **smaller, "snapshot": None})
    return _hold(workload, request, tell)


def _can_fork() -> bool:
    """Return whether nothing runs here that does not survive a fork."""
    threads = list(Path("/proc/self/task").iterdir())
    return len(threads) == 1 and not torch.cuda.is_initialized()  # type: ignore[no-untyped-call] # untyped in torch


def _in_fork(workload: Workload, request: HoldersRequest) -> None:
    """Do the same for the other batch size; if it fails there is no file."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        _hold(workload, request, lambda _phase: None)
    finally:
        os._exit(0)


def _hold(workload: Workload, request: HoldersRequest, tell: TellPhase) -> HoldersResult | Failure:
    seed_everything()
    accelerator = request["bound"]["accelerator"]
    bound: MemoryBound = NoLimit(request["bound"].get("place"))
    watch: HoldersWatch | None = None
    try:
        if accelerator != "cuda" and request["snapshot"] is not None:
            raise NoHistoryError(  # noqa: TRY301 - reported like any other failure
                "only a GPU's allocator keeps a snapshot: name a GPU, which may be a simulated one"
            )
        recording: Recording
        if accelerator == "cuda":
            bound.start()
            recording = CudaRecording(whole=request["snapshot"] is not None)
        else:
            recording = HostRecording()
            bound = HostNoLimit(recording, request["bound"].get("place"))
        watch = make_callback(
            workload.lightning, HoldersWatch, bound, tell, _as_training(request), recording
        )
        _train(workload, request, bound, watch)
        if request["snapshot"] is not None and isinstance(recording, CudaRecording):
            recording.dump(request["snapshot"])
        found = {"batch_size": request["batch_size"], **recording.summary()}
        Path(request["file"]).write_text(json.dumps(found), encoding="ascii")
    except BaseException as error:  # noqa: BLE001 - whatever ends the user's training is the answer
        return explain_fit(error, workload, watch, tell, accelerator)
    peak = bound.peak_bytes() if accelerator == "cuda" else found["peak_bytes"]
    return {"outcome": "fits", "peak_memory_bytes": peak, **bound.facts()}


def _as_training(request: HoldersRequest) -> TrainRequest:
    """Return the request of a probe that trains so."""
    return {
        "task": "train",
        "batch_size": request["batch_size"],
        "steps": request["steps"],
        "settle": False,
        "epoch_steps": 0,
        "validation_steps": request["validation_steps"],
        "validation_batch_size": None,
        "validation_share": 1.0,
        "snapshot": None,
        "history": None,
        "micro_batches": request["micro_batches"],
        "bound": request["bound"],
        "trainer": request["trainer"],
        "workload": request["workload"],
    }


def _train(
    workload: Workload, request: HoldersRequest, bound: MemoryBound, watch: HoldersWatch
) -> None:
    """Run the user's training, as a probe does."""
    with consistent_zeros_of(request["bound"]), watch.following:
        if isinstance(watch.recording, HostRecording):
            watch.following.enter_context(watch.recording.following_loaders())
        trainer = make_trainer(
            workload,
            bound,
            request["trainer"],
            limit_val_batches=request["validation_steps"],
            callbacks=[watch],
            micro_batches=request["micro_batches"],
        )
        prepare(workload, trainer, bound, request["batch_size"])
        watch.follow_batches(trainer.strategy)
        watch.ranks = talk_of(bound)
        trainer.fit(workload.module, datamodule=workload.datamodule)
        if watch.ranks is not None:
            watch.ranks.leave()
    watch.require_all_steps()
