"""The child side of a prediction: the user's real training, two optimizer steps and a validation batch, on fake tensors.

Parameters, gradients, optimizer state, activations and batches have shapes and no memory. They are fake tensors of the CPU
(a build of torch without CUDA cannot make others), made to behave as CUDA's: foreach optimizers, CUDA's autocast.
"""

from __future__ import annotations

import importlib
import json
from contextlib import ExitStack, nullcontext
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from harness.devices import make_bound
from harness.explaining import explain
from harness.loaders import wrap_loaders
from harness.predict import as_cuda
from harness.predict.recording import Recorder, label_modules
from harness.predict.untraceable import refuse_compiled_code, why_untraceable
from harness.trainer import Watch, make_callback, make_trainer, seed_everything
from harness.trial import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.predict.trace import Trace
    from harness.trial import Report
    from harness.workload import Workload

# The first makes gradients and the optimizer's state, the second has all of them.
_STEPS = 2
_SEED = 0


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

    def on_train_start(self, trainer: Any, _module: Any) -> None:
        for optimizer in trainer.optimizers:
            _use_foreach(optimizer)
            optimizer.register_step_post_hook(self._after_step)

    def on_train_batch_start(self, *_: Any) -> None:
        self._enter("forward", "activation")

    def on_before_backward(self, *_: Any) -> None:
        # Of activations: which of them are the parameters' is known once they are there.
        self._enter("backward", "activation")

    def on_before_optimizer_step(self, _trainer: Any, module: Any, *_: Any) -> None:
        for parameter in module.parameters():
            if parameter.grad is not None:
                self.recorder.relabel(parameter.grad, "gradient")
        self._enter("optimizer", "optimizer")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.recorder.kind = "activation"
        if not self._stepped:
            return
        self._stepped = False
        self.step += 1
        trainer.should_stop = self.step > _STEPS

    def on_validation_start(self, *_: Any) -> None:
        self.tracer.report("validation")
        self.recorder.mark("validation")
        self.recorder.kind = "activation"

    def on_train_end(self, *_: Any) -> None:
        raise _Traced

    def _after_step(self, *_: Any) -> None:
        self._stepped = True

    def _enter(self, phase: str, kind: str) -> None:
        self.tracer.report(phase)
        self.recorder.thread = "autograd" if phase == "backward" else "main"
        self.recorder.mark(f"step {self.step} {phase}")
        self.recorder.kind = kind


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
            _keep_real(owner, name)
        watch = make_callback(workload.lightning, TraceWatch, self)
        trainer = make_trainer(
            workload,
            make_bound({"accelerator": "cpu", "budget_bytes": 0}),
            _with_plugin(workload, settings),
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
        return self.recorder.trace(self.batch_size)

    def _move_module(self) -> None:
        """Replace parameters and buffers by fake ones, in the order in which `Module.to` moves them."""
        # Metrics and averages of weights are deep copies. This process ends with the trace.
        FakeTensor.__deepcopy__ = _copied  # type: ignore[method-assign] # it copies storages, which fake ones have not
        self._modes.enter_context(self.mode)
        self._modes.enter_context(self.recorder)
        self.recorder.mark("model")
        self.recorder.kind = "parameter"
        _replace(self.workload.module, {})
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


def run(workload: Workload, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Trace one batch size on a GPU.

    `request` holds `trainer`, `batch_size`, `validation_steps`, `file`, where the trace goes, and `capability`, the GPU's.
    Returns how it ended, as a probe does.
    """
    report("setup")
    seed_everything(_SEED)
    refuse_compiled_code()
    as_cuda.install(tuple(request["capability"]))
    tracer = Tracer(workload, int(request["batch_size"]), report)
    try:
        trace = tracer.run(request["trainer"], int(request["validation_steps"]))
    except BaseException as error:  # noqa: BLE001 - whatever ends the user's training is the answer
        why = why_untraceable(error)
        return explain(error) | ({} if why is None else {"outcome": "untraceable", "detail": why})
    finally:
        tracer.recorder.close()
    Path(request["file"]).write_text(json.dumps(trace.to_json()), encoding="ascii")
    return {"outcome": "fits", "detail": None, "traceback": None}


class _RealBatches:
    """A loader whose work is done with real tensors, though fake ones are being traced."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        with _disable_current_modes():
            batches = iter(self._loader)
        while True:
            with _disable_current_modes():
                batch = next(batches, self)
            if batch is self:
                return
            yield batch


def _keep_real(owner: Any, name: str) -> None:
    """Have the user's loaders be made, and run, without fake tensors."""
    original = getattr(owner, name)

    @wraps(original)
    def real() -> Any:
        with _disable_current_modes():
            loaders = original()
        return wrap_loaders(loaders, _RealBatches)

    setattr(owner, name, real)


def _replace(module: torch.nn.Module, fakes: dict[int, torch.Tensor]) -> None:
    """Replace what a module holds, children first; what is tied stays tied."""
    for child in module.children():
        _replace(child, fakes)
    for name, parameter in module._parameters.items():  # noqa: SLF001 - setattr would ask about types
        if parameter is not None:
            if id(parameter) not in fakes:
                fake = torch.nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
                fakes[id(parameter)] = fake
                fakes[id(fake)] = fake
            module._parameters[name] = fakes[id(parameter)]  # type: ignore[assignment]  # noqa: SLF001
    for name, buffer in module._buffers.items():  # noqa: SLF001
        if buffer is not None:
            if id(buffer) not in fakes:
                copy = buffer.clone()
                fakes[id(buffer)] = copy
                fakes[id(copy)] = copy
            module._buffers[name] = fakes[id(buffer)]  # noqa: SLF001


def _copied(tensor: Any, memo: dict[int, Any]) -> Any:
    """Deepcopy a fake tensor, and what makes it a parameter."""
    if id(tensor) not in memo:
        copy = tensor.detach().clone()
        if isinstance(tensor, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, tensor.requires_grad)
        memo[id(tensor)] = copy
    return memo[id(tensor)]


def _use_foreach(optimizer: Any) -> None:
    """Choose what torch chooses on CUDA where nothing is chosen: one kernel over all parameters at once."""
    for group in optimizer.param_groups:
        if group.get("foreach", True) is None and not group.get("fused") and not group.get("differentiable"):
            group["foreach"] = True


def _with_plugin(workload: Workload, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a precision that Lightning would not take on the CPU by the plugin that CUDA gets."""
    chosen = dict(settings)
    if chosen.get("precision") in ("16-mixed", "bf16-mixed"):
        plugins = importlib.import_module(f"{workload.lightning.__name__}.plugins")
        plugin = plugins.MixedPrecision(chosen.pop("precision"), "cpu")
        plugin.scaler = None  # a few numbers, and the decision to skip a step
        chosen["plugins"] = [plugin]
    return chosen
