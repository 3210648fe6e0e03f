"""Traces the user's real training on fake tensors: two optimizer steps and a validation batch.

Parameters, gradients, optimizer state, activations and batches have shapes and no memory. They are
fake tensors of the CPU (a build of torch without CUDA cannot make others), made to behave as
CUDA's: foreach optimizers, CUDA's autocast.
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

from harness.failures.explain import explain
from harness.memory_bounds import no_bound
from harness.predict.cuda_operators import install
from harness.predict.tracing.fake_tensors import (
    copied,
    follow_names,
    keep_real,
    replace,
    use_foreach,
    with_plugin,
)
from harness.predict.tracing.recorder import Recorder, label_modules
from harness.predict.tracing.untraceable import refuse_compiled_code, why_untraceable
from harness.probe_tasks.trainer import (
    FitWatch,
    make_callback,
    make_trainer,
    prepare,
    seed_everything,
)
from harness.wording import describe_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.predict.trace import Trace
    from harness.protocol import Failure, Phase, TellPhase, TraceRequest, TraceResult
    from harness.workload.build import Workload

# The first makes gradients and the optimizer's state, the second has all of them.
_STEPS = 2
# Batches without a step, per step, after which there will be none.
_MAX_BATCHES_PER_STEP = 4
# What grows from step to step is told from this share of the peak on: a log's numbers grow, too.
_TOLD_GROWTH = 1e-3


class _Traced(Exception):  # noqa: N818 - not an error: the trace has what it came for
    """Ends a fit that has been traced."""


class TraceWatch(FitWatch):
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
        """Return the growth of the activations in the last step, in bytes by module."""
        if len(self._held) < _STEPS:  # the user's own settings ended the fit
            return Counter()
        before, after = self._held[-_STEPS:]
        return after - before

    def on_validation_start(self, *_: Any) -> None:
        self.tracer.tell("validation")
        self.recorder.mark("validation")
        self.recorder.kind, self.recorder.module = "activation", "the validation step"

    def on_train_end(self, *_: Any) -> None:
        raise _Traced

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        groups = optimizer.param_groups
        self._stepped |= any(
            parameter.grad is not None for group in groups for parameter in group["params"]
        )

    def _enter(self, phase: Phase, kind: str, module: str) -> None:
        self.tracer.tell(phase)
        self.recorder.thread = "autograd" if phase == "backward" else "main"
        self.recorder.mark(f"step {self.step} {phase}")
        self.recorder.kind, self.recorder.module = kind, module


class Tracer:
    """Runs a fit with fake tensors from the moment on at which its module would move to the GPU."""

    def __init__(
        self,
        workload: Workload,
        batch_size: int,
        tell: TellPhase | None = None,
        *,
        fake: bool = True,
    ) -> None:
        self.workload = workload
        self.tell: TellPhase = tell or (lambda _: None)
        self.batch_size = batch_size
        self.recorder = Recorder()
        # Without: what the CPU really allocates, to judge the fake tensors by.
        self.mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext()
        self._modes = ExitStack()

    def run(self, settings: Mapping[str, Any], validation_steps: int) -> Trace:
        """Train and validate; whatever the training raises passes through."""
        workload = self.workload
        prepare(workload, self.batch_size)
        for name in ("train_dataloader", "val_dataloader"):
            keep_real(workload.loader_owner, name)
        watch = make_callback(workload.lightning, TraceWatch, self)
        trainer = make_trainer(
            workload,
            no_bound(),
            with_plugin(workload, settings),
            limit_val_batches=validation_steps,
            callbacks=[watch],
        )
        strategy = trainer.strategy
        strategy.model_to_device = self._move_module
        strategy.batch_to_device = self._moving_batches(strategy.batch_to_device)
        try:
            trainer.fit(workload.module, datamodule=workload.datamodule)
        except BaseException:  # noqa: BLE001 - Lightning's teardown may trip over fake tensors
            if not isinstance(watch.error, _Traced):
                raise (watch.error or RuntimeError("the fit ended before it was traced")) from None
        finally:
            self._modes.close()
        trace = self.recorder.trace(self.batch_size)
        return dataclasses.replace(
            trace, notes=trace.notes + tuple(_growth_notes(watch.grown(), trace.peak_bytes))
        )

    def _move_module(self) -> None:
        """Replace parameters and buffers by fake ones, in the order of `Module.to`."""
        # Metrics and averages of weights are deep copies. This process ends with the trace.
        FakeTensor.__deepcopy__ = copied  # type: ignore[method-assign] # copies no storage
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
            apply = importlib.import_module(
                "lightning_utilities.core.apply_func"
            ).apply_to_collection
            self.recorder.mark("batch")
            return original(apply(batch, torch.Tensor, self._move_tensor), *arguments, **more)

        return batch_to_device

    def _move_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        moved = tensor.clone()
        self.recorder.register(moved, "input")
        return moved


def _growth_notes(grown: Counter[str], peak_bytes: int) -> Iterator[str]:
    """Yield a note on memory that grows with every step: a longer training needs more of it."""
    if grown.total() > _TOLD_GROWTH * peak_bytes:
        ((most, _),) = grown.most_common(1)
        yield (
            "memory grows from step to step, and only two steps were traced: what stays was made "
            f"in {most or 'no module'}"
        )


def trace(workload: Workload, request: TraceRequest, tell: TellPhase) -> TraceResult | Failure:
    """Trace batch sizes on a GPU, the first in this process and each further one in a fork of it.

    The traces go into the request's files. Returns the first failure, in the order of the sizes.
    """
    tell("setup")
    refuse_compiled_code()
    major, minor = request["capability"]
    install.install((major, minor))
    jobs = list(zip(request["batch_sizes"], map(Path, request["files"]), strict=True))
    children = [
        _fork(partial(_trace, workload, size, file, request, lambda _: None))
        for size, file in jobs[1:]
    ]
    results = [_trace(workload, *jobs[0], request, tell)]
    results += [_join(child) for child in children]
    return next((result for result in results if result["outcome"] != "fits"), results[0])


def _trace(
    workload: Workload, batch_size: int, file: Path, request: TraceRequest, tell: TellPhase
) -> TraceResult | Failure:
    seed_everything()
    tracer = Tracer(workload, batch_size, tell)
    follow_names(tracer.recorder)
    try:
        recorded = tracer.run(request["trainer"], request["validation_steps"])
    except BaseException as error:  # noqa: BLE001 - whatever ends the user's training is the answer
        failure = explain(error)
        why = why_untraceable(error)
        if why is not None:
            failure |= {"outcome": "untraceable", "detail": why}
        return failure
    finally:
        tracer.recorder.close()
    file.write_text(json.dumps(recorded.to_json()), encoding="ascii")
    return {"outcome": "fits"}


def _fork(work: Callable[[], TraceResult | Failure]) -> tuple[int, int]:
    """Run `work` in a child; return its process id and the descriptor of its answer."""
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


def _join(child: tuple[int, int]) -> TraceResult | Failure:
    """Wait for a child's answer."""
    pid, inbox = child
    with os.fdopen(inbox, encoding="ascii") as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    if text:
        result: TraceResult | Failure = json.loads(text)
        return result
    how = describe_exit(os.waitstatus_to_exitcode(status))
    return {"outcome": "error", "detail": f"a process that traced {how}", "traceback": None}
