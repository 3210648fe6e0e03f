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
    from harness.protocol.case import RankPlace
    from harness.protocol.messages import (
        Failure,
        HoldersRequest,
        HoldersResult,
        TellPhase,
        TrainRequest,
    )
    from harness.workload.build import Workload

<<<<<<< HEAD
    Recording = CudaRecording | HostRecording
=======
# With its stack an entry takes 2 KB of the host, in torch and again in Python.
_MAX_ENTRIES = 500_000


class NoHistoryError(HarnessError):
    """The allocator keeps no history of this training."""


class NoLimit(CudaBound):
    """Starts CUDA as a probe does, and limits nothing: what holds the memory need not fit."""

    def __init__(self, place: RankPlace | None) -> None:
        super().__init__(None, 0.0, place)

    def rescale(self, share: float) -> None:
        """Allow all of the GPU's memory."""
        del share
        self.lift()


class Recording:
    """The history that torch's allocator keeps from now on."""

    def __init__(self, *, whole: bool) -> None:
        backend = torch.cuda.get_allocator_backend()
        if backend != "native":
            raise NoHistoryError(
                f"the allocator {backend} keeps no history, so nobody knows what holds the memory: "
                "take `backend` out of PYTORCH_CUDA_ALLOC_CONF"
            )
        self._device = torch.cuda.current_device()
        self._before = active_blocks(torch.cuda.memory._snapshot()["segments"])  # noqa: SLF001 - documented
        torch.cuda.memory._record_memory_history(  # noqa: SLF001 - documented
            context="all" if whole else "alloc", stacks="python", max_entries=_MAX_ENTRIES
        )
        self.user_code = UserCode()
        self.attribution = Attribution(self.user_code)
        self.end: int | None = None
        """The number of events that are the training's; None while it runs."""
        self._given_back = 0

    def stop(self) -> None:
        """Count no further events, and make cuBLAS give back its workspaces: so they are known."""
        if self.end is None:
            self.end = self._given_back = self.attribution.clock()
            with suppress(RuntimeError):  # CUDA may have failed for good
                torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - no public way
                self._given_back = self.attribution.clock()

    def dump(self, path: str) -> None:
        """Write torch's snapshot, for https://pytorch.org/memory_viz."""
        with Path(path).open("wb") as stream:
            pickle.dump(torch.cuda.memory._snapshot(), stream)  # noqa: SLF001 - documented

    def summary(self) -> dict[str, Any]:
        """Return what held the memory, as plain data; it ends the history."""
        self.stop()
        attribution, end = self.attribution, self.end
        peak = torch.cuda.memory_stats(self._device)["requested_bytes.all.peak"]
        traces = torch.cuda.memory._snapshot()["device_traces"]  # noqa: SLF001 - documented
        entries = traces[self._device]
        torch.cuda.memory._record_memory_history(enabled=None)  # noqa: SLF001 - documented
        if len(entries) >= _MAX_ENTRIES:
            raise NoHistoryError(
                f"the training allocates and frees more than {_MAX_ENTRIES // 3} times in its "
                "steps, and the allocator's history ends there: lower accumulate_grad_batches, "
                "which does not change what holds the memory"
            )
        history = History(entries, self._before)
        history.attribute(attribution.marks, attribution.labels, self.user_code)
        assert end is not None, "stopped above"
        history.name_freed(end, self._given_back, "workspace", "cuBLAS")
        found = history.summary(attribution.phases, end)
        if found["peak_bytes"] < peak:
            raise NoHistoryError(
                f"the allocator's history explains {format_bytes(found['peak_bytes'])} of a peak of "
                f"{format_bytes(peak)}: something else began the history anew, such as a call of "
                "torch.cuda.memory._record_memory_history in the training"
            )
        return found
>>>>>>> 7f6cc7a (Cases of several GPUs are predicted on as many simulated ones)


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
        self.following.enter_context(attribution.following_backward(self._in_backward))
        # After `_before_step`: this notes the end of the step.
        super().on_train_start(trainer, module)

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
<<<<<<< HEAD
    accelerator = request["bound"]["accelerator"]
    bound: MemoryBound = NoLimit()
=======
    bound = NoLimit(request["bound"].get("place"))
>>>>>>> 7f6cc7a (Cases of several GPUs are predicted on as many simulated ones)
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
            bound = HostNoLimit(recording)
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
