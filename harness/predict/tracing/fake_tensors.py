"""Makes a user's training run on fake tensors, and as it would on CUDA.

It adapts the module, the loaders, the optimizers and the precision.
"""

from __future__ import annotations

import importlib
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses import FakeTensor
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import _disable_current_modes

from harness.workload.train_loaders import wrap_loaders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.predict.tracing.recorder import Recorder
    from harness.workload.build import Workload


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


def keep_real(owner: Any, name: str) -> None:
    """Make and run the user's loaders without fake tensors."""
    original = getattr(owner, name)

    @wraps(original)
    def real() -> Any:
        with _disable_current_modes():
            loaders = original()
        return wrap_loaders(loaders, _RealBatches)

    setattr(owner, name, real)


@torch.no_grad()
def replace(module: torch.nn.Module, fakes: dict[int, torch.Tensor]) -> None:
    """Replace the parameters and buffers of a module by fake ones, children first.

    Tied ones stay tied. Each takes one allocation, as moving it would.
    """
    for child in module.children():
        replace(child, fakes)
    for name, parameter in module._parameters.items():  # noqa: SLF001 - setattr checks types
        if parameter is not None:
            if id(parameter) not in fakes:
                fake = torch.nn.Parameter(parameter.clone(), parameter.requires_grad)
                fakes[id(parameter)] = fake
                fakes[id(fake)] = fake
            replacement = fakes[id(parameter)]
            module._parameters[name] = replacement  # type: ignore[assignment]  # noqa: SLF001
    for name, buffer in module._buffers.items():  # noqa: SLF001
        if buffer is not None:
            if id(buffer) not in fakes:
                copy = buffer.clone()
                fakes[id(buffer)] = copy
                fakes[id(copy)] = copy
            module._buffers[name] = fakes[id(buffer)]  # noqa: SLF001


def copied(tensor: Any, memo: dict[int, Any]) -> Any:
    """Deepcopy a fake tensor, and what makes it a parameter."""
    if id(tensor) not in memo:
        copy = tensor.detach().clone()
        if isinstance(tensor, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, tensor.requires_grad)
        memo[id(tensor)] = copy
    return memo[id(tensor)]


def follow_names(recorder: Recorder) -> None:
    """Record tensors that the workload puts on a GPU by name, although no GPU is there.

    An averaged copy of its weights is an example. This changes the process for good: it ends with
    its trace.
    """

    def following(function: Any) -> Any:
        @wraps(function)
        def place(*arguments: Any, **more: Any) -> Any:
            values = (*arguments, *more.values())
            named = any(map(_names_gpu, values))
            placed = function(
                *map(_here, arguments), **{name: _here(value) for name, value in more.items()}
            )
            # Once training runs, `self.device` stands for the GPU: what is real until then comes
            # from the host.
            moves = named or (
                recorder.marks and any(isinstance(value, torch.device) for value in values)
            )
            if not moves or isinstance(placed, FakeTensor):  # fake ones are recorded already
                return placed
            if any(placed is value for value in arguments):
                placed = placed.clone()
            if named:
                recorder.register(placed, "parameter")
            return placed

        return place

    for function in _device_constructors():  # all that `torch.set_default_device` is for
        name = getattr(function, "__name__", "")
        if getattr(torch, name, None) is function:
            setattr(torch, name, following(function))
    move = following(torch.Tensor.to)
    torch.Tensor.to = move  # type: ignore[method-assign] # torch gives it many signatures
    torch.Tensor.cuda = (  # type: ignore[method-assign] # likewise
        lambda tensor, *_, **__: move(tensor, "cuda")
    )


def _names_gpu(value: Any) -> bool:
    return isinstance(value, str | torch.device) and str(value).startswith("cuda")


def _here(value: Any) -> Any:
    return "cpu" if _names_gpu(value) else value


def use_foreach(optimizer: Any) -> None:
    """Choose torch's default on CUDA if nothing is chosen: one kernel over all parameters."""
    for group in optimizer.param_groups:
        if (
            group.get("foreach", True) is None
            and not group.get("fused")
            and not group.get("differentiable")
        ):
            group["foreach"] = True


def with_plugin(workload: Workload, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a precision that Lightning would not take on the CPU by the plugin that CUDA gets."""
    chosen = dict(settings)
    if chosen.get("precision") in ("16-mixed", "bf16-mixed"):
        plugins = importlib.import_module(f"{workload.lightning.__name__}.plugins")
        plugin = plugins.MixedPrecision(chosen.pop("precision"), "cpu")
        plugin.scaler = None  # a few numbers, and the decision to skip a step
        chosen["plugins"] = [plugin]
    return chosen
