"""The child side of a prediction: the user's real training, two optimizer steps and a validation batch, on fake tensors.

Parameters, gradients, optimizer state, activations and batches have shapes and no memory. They are fake tensors of the CPU
(a build of torch without CUDA cannot make others), made to behave as CUDA's: foreach optimizers, CUDA's autocast.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from collections import Counter
from contextlib import ExitStack, nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses import FakeTensor, FakeTensorMode

from harness.devices import make_bound
from harness.endings import ending
from harness.explaining import explain
from harness.predict import as_cuda
from harness.predict.faking import copied, follow_names, keep_real, replace, use_foreach, with_plugin
from harness.predict.recording import Recorder, label_modules
from harness.predict.untraceable import refuse_compiled_code, why_untraceable
from harness.trainer import Watch, make_callback, make_trainer, seed_everything
from harness.trial import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.predict.trace import Trace
    from harness.trial import Report
    from harness.workload import Workload

# The first makes gradients and the optimizer's state, the second has all of them.
_STEPS = 2
_SEED = 0
# Batches without a step, per step, after which there will be none.
_MAX_BATCHES_PER_STEP = 4
# What grows from step to step is told from this share of the peak on: a log's numbers grow, too.
_TOLD_GROWTH = 1e-3


class _Traced(Exception):  # noqa: N818 - not an error: the trace has what it came for
    """Ends a fit that has been traced."""


class TraceWatch(Watch):
    """Callback that marks the phases of each step and ends the fit after the last."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer
        self.recorder = tracer.recorder
        self.step = 1
        self._stepped = False
        self._num_batches = 0
        self._held: list[Counter[str]] = []

    def on_train_start(self, trainer: Any, _module: Any) -> None:
        for optimizer in trainer.optimizers:
            use_foreach(optimizer)
            optimizer.register_step_post_hook(self._after_step)

    def on_train_batch_start(self, *_: Any) -> None:
        self._enter("forward", "activation", "the training step")

    def on_before_backward(self, *_: Any) -> None:
        # Of activations: which of them are the parameters' is known once they are there.
        self._enter("backward", "activation", "the backward pass")

    def on_before_optimizer_step(self, _trainer: Any, module: Any, *_: Any) -> None:
        for parameter in module.parameters():
            if parameter.grad is not None:
                self.recorder.relabel(parameter.grad, "gradient")
        self._enter("optimizer", "optimizer", "")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.recorder.kind, self.recorder.module = "activation", ""
        self._num_batches += 1
        if not self._stepped:
            if self._num_batches > _MAX_BATCHES_PER_STEP * _STEPS * trainer.accumulate_grad_batches:
                raise RuntimeError(f"no optimizer step took effect in {self._num_batches} batches")
            return
        self._stepped = False
        self.step += 1
        trainer.should_stop = self.step > _STEPS
        self._held.append(self.recorder.held())

    def grown(self) -> Counter[str]:
        """Return what activations held more after the last step than after the one before, in bytes by module."""
        if len(self._held) < _STEPS:  # the user's own settings ended the fit
            return Counter()
        before, after = self._held[-_STEPS:]
        return after - before

    def on_validation_start(self, *_: Any) -> None:
        self.tracer.report("validation")
        self.recorder.mark("validation")
        self.recorder.kind, self.recorder.module = "activation", "the validation step"

    def on_train_end(self, *_: Any) -> None:
        raise _Traced

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        groups = optimizer.param_groups
        self._stepped |= any(parameter.grad is not None for group in groups for parameter in group["params"])

    def _enter(self, phase: str, kind: str, module: str) -> None:
        self.tracer.report(phase)
        self.recorder.thread = "autograd" if phase == "backward" else "main"
        self.recorder.mark(f"step {self.step} {phase}")
        self.recorder.kind, self.recorder.module = kind, module


class Tracer:
    """Runs a fit with fake tensors from the moment on at which its module would move to the GPU."""

    def __init__(
        self, workload: Workload, batch_size: int, report: Report | None = None, *, fake: bool = True
    ) -> None:
        self.workload = workload
        self.report: Report = report or (lambda _: None)
        self.batch_size = batch_size
        self.recorder = Recorder()
        # Without: what the CPU really allocates, to judge the fake tensors by.
        self.mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext()
        self._modes = ExitStack()

    def run(self, settings: Mapping[str, Any], validation_steps: int) -> Trace:
        """Train and validate; whatever the training raises passes through."""
        workload = self.workload
        prepare(workload, self.batch_size)
        owner = workload.datamodule if workload.datamodule is not None else workload.module
        for name in ("train_dataloader", "val_dataloader"):
            keep_real(owner, name)
        watch = make_callback(workload.lightning, TraceWatch, self)
        trainer = make_trainer(
            workload,
            make_bound({"accelerator": "cpu", "budget_bytes": 0}),
            with_plugin(workload, settings),
            limit_val_batches=validation_steps,
            callbacks=[watch],
        )
        strategy = trainer.strategy
        strategy.model_to_device = self._move_module
        strategy.batch_to_device = self._moving_batches(strategy.batch_to_device)
        try:
            trainer.fit(workload.module, datamodule=workload.datamodule)
        except BaseException:  # noqa: BLE001 - Lightning's teardown may trip over fake tensors once it is traced
            if not isinstance(watch.error, _Traced):
                raise (watch.error or RuntimeError("the fit ended before it was traced")) from None
        finally:
            self._modes.close()
        trace = self.recorder.trace(self.batch_size)
        return dataclasses.replace(
            trace, notes=trace.notes + tuple(_growth_notes(watch.grown(), trace.peak_bytes))
        )

    def _move_module(self) -> None:
        """Replace parameters and buffers by fake ones, in the order in which `Module.to` moves them."""
        # Metrics and averages of weights are deep copies. This process ends with the trace.
        FakeTensor.__deepcopy__ = copied  # type: ignore[method-assign] # it copies storages, which fake ones have not
        self._modes.enter_context(self.mode)
        self._modes.enter_context(self.recorder)
        self.recorder.mark("model")
        self.recorder.kind = "parameter"
        replace(self.workload.module, {})
        label_modules(self.workload.module, self.recorder)
        self.recorder.kind = "activation"

    def _moving_batches(self, original: Any) -> Any:
        @wraps(original)
        def batch_to_device(batch: Any, *arguments: Any, **more: Any) -> Any:
            apply = importlib.import_module("lightning_utilities.core.apply_func").apply_to_collection
            self.recorder.mark("batch")
            return original(apply(batch, torch.Tensor, self._move_tensor), *arguments, **more)

        return batch_to_device

    def _move_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        moved = tensor.clone()
        self.recorder.register(moved, "input")
        return moved


def _growth_notes(grown: Counter[str], peak_bytes: int) -> Iterator[str]:
    """Say what keeps more with every step: a training that goes on takes more than two steps of it."""
    if grown.total() > _TOLD_GROWTH * peak_bytes:
        ((most, _),) = grown.most_common(1)
        yield (
            "memory grows from step to step, and only two were looked at: what is kept was made in "
            f"{most or 'no module'}"
        )


def run(workload: Workload, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Trace batch sizes on a GPU, the first in this process and each further one in a fork, at the same time.

    `request` holds `trainer`, `batch_sizes`, `validation_steps`, `files`, where the traces go, and `capability`, the GPU's.
    Returns how they ended, as a probe does: the first that did not come to its end, in the order of the sizes.
    """
    report("setup")
    refuse_compiled_code()
    as_cuda.install(tuple(request["capability"]))
    jobs = list(zip(request["batch_sizes"], map(Path, request["files"]), strict=True))
    children = [
        _fork(partial(_trace, workload, size, file, request, lambda _: None)) for size, file in jobs[1:]
    ]
    results = [_trace(workload, *jobs[0], request, report)]
    results += [_join(child) for child in children]
    return next((result for result in results if result["outcome"] != "fits"), results[0])


def _trace(
    workload: Workload, batch_size: int, file: Path, request: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    seed_everything(_SEED)
    tracer = Tracer(workload, batch_size, report)
    follow_names(tracer.recorder)
    try:
        trace = tracer.run(request["trainer"], int(request["validation_steps"]))
    except BaseException as error:  # noqa: BLE001 - whatever ends the user's training is the answer
        why = why_untraceable(error)
        return explain(error) | ({} if why is None else {"outcome": "untraceable", "detail": why})
    finally:
        tracer.recorder.close()
    file.write_text(json.dumps(trace.to_json()), encoding="ascii")
    return {"outcome": "fits", "detail": None, "traceback": None}


def _fork(work: Callable[[], dict[str, Any]]) -> tuple[int, int]:
    """Have a child do it; return its process id, and where its answer can be read."""
    inbox, outbox = os.pipe()
    pid = os.fork()
    if pid:
        os.close(outbox)
        return pid, inbox
    try:
        with os.fdopen(outbox, "w", encoding="ascii") as answer:
            json.dump(work(), answer)
    finally:
        sys.stdout.flush()
        os._exit(0)


def _join(child: tuple[int, int]) -> dict[str, Any]:
    """Wait for a child's answer."""
    pid, inbox = child
    with os.fdopen(inbox, encoding="ascii") as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    if text:
        result: dict[str, Any] = json.loads(text)
        return result
    how = ending({"exit_code": os.waitstatus_to_exitcode(status)})
    return {"outcome": "error", "detail": f"a process that traced {how}", "traceback": None}
