"""Changes a workload before it trains, in the ways that `gpu-profile predict --what-if` tries.

Runs in a probe, after its workload is built and before CUDA starts. It is imported only there:
what a probe imports counts in the memory of the CPU.
"""

from __future__ import annotations

import importlib
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import NotOfferedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.protocol.case import ModuleChange

# What modules call the switch of their own checkpointing: Swin Transformer and MONAI the first,
# torchvision's DenseNet the second.
_FLAGS = ("use_checkpoint", "memory_efficient")
_IMAGE_DIMENSIONS = 4
# The first that is installed is taken; both have a class of this name.
_EIGHT_BIT = ("bitsandbytes.optim", "torchao.optim")
_EIGHT_BIT_CLASSES: dict[type[torch.optim.Optimizer], str] = {
    torch.optim.Adam: "Adam8bit",
    torch.optim.AdamW: "AdamW8bit",
}
_EIGHT_BIT_SETTINGS = ("lr", "betas", "eps", "weight_decay")


def apply(change: ModuleChange, module: Any) -> None:
    """Change a LightningModule in place.

    Raises NotOfferedError where the module does not offer it, or a package is missing. What the
    optimizers do not offer is known, and raised, when the training has made them.
    """
    _CHANGES[change](module)


def _checkpoint_activations(module: Any) -> None:
    """Switch on the checkpointing that a module, or its parts, have of their own."""
    parts = [*_outermost(module)]
    for part in parts:
        _switch_on(part)
    if not parts and not _set_flags(module):
        raise NotOfferedError(
            f"{_name(module)} offers neither gradient_checkpointing_enable, as transformers' "
            "models do, nor set_grad_checkpointing, as timm's do, nor a flag use_checkpoint"
        )


def _outermost(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Yield the parts that have a method for checkpointing, and not what is within them."""
    if hasattr(module, "gradient_checkpointing_enable") or hasattr(
        module, "set_grad_checkpointing"
    ):
        yield module
        return
    for child in module.children():
        yield from _outermost(child)


def _switch_on(part: Any) -> None:
    """Switch on the checkpointing of a part that has a method for it."""
    if getattr(part, "is_gradient_checkpointing", False):
        raise NotOfferedError(f"{_name(part)} checkpoints its activations already")
    try:
        if hasattr(part, "gradient_checkpointing_enable"):
            # The other kind needs an input that requires a gradient.
            part.gradient_checkpointing_enable({"use_reentrant": False})
        else:
            part.set_grad_checkpointing(True)
    except (AssertionError, NotImplementedError, ValueError) as error:
        # A base class has the method, and this model says that it does not support it.
        raise NotOfferedError(f"{_name(part)}: {error}") from error


def _set_flags(module: torch.nn.Module) -> bool:
    """Set the flags for checkpointing that are off; return whether there are any."""
    found = [
        (part, flag)
        for part in module.modules()
        for flag in _FLAGS
        if getattr(part, flag, None) is False
    ]
    for part, flag in found:
        setattr(part, flag, True)
    return bool(found)


def _use_channels_last(module: Any) -> None:
    """Put images' channels last, in the weights and in each batch on its way to the module."""
    if not any(parameter.dim() == _IMAGE_DIMENSIONS for parameter in module.parameters()):
        raise NotOfferedError(f"{_name(module)} has no two-dimensional convolution")
    module.to(memory_format=torch.channels_last)
    transfer = module.on_after_batch_transfer

    @wraps(transfer)
    def on_after_batch_transfer(batch: Any, dataloader_idx: int) -> Any:
        return _channels_last(transfer(batch, dataloader_idx))

    module.on_after_batch_transfer = on_after_batch_transfer


def _channels_last(value: Any) -> Any:
    """Return a batch with its images' channels last."""
    if isinstance(value, torch.Tensor) and value.dim() == _IMAGE_DIMENSIONS:
        return value.contiguous(memory_format=torch.channels_last)
    if isinstance(value, dict):
        return {key: _channels_last(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_channels_last(item) for item in value)
    return value


def _use_fused_optimizer(module: Any) -> None:
    """Let the optimizers take their steps in one kernel."""

    def fuse(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        if "fused" not in optimizer.defaults:
            raise NotOfferedError(f"{type(optimizer).__qualname__} has no `fused`")
        if any(group["fused"] for group in optimizer.param_groups):
            raise NotOfferedError(f"{type(optimizer).__qualname__} is fused already")
        # Before its first step an optimizer has no state: its groups say all.
        for group in (optimizer.defaults, *optimizer.param_groups):
            group["fused"], group["foreach"] = True, False
        return optimizer

    _change_optimizers(module, fuse)


def _use_eight_bit_optimizer(module: Any) -> None:
    """Let Adam keep its moments in 8 bits each, as an installed package has it."""
    package = _eight_bit_package()

    def shrink(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        name = _EIGHT_BIT_CLASSES.get(type(optimizer))
        if name is None:
            raise NotOfferedError(
                f"{type(optimizer).__qualname__} is not torch's Adam or AdamW, which "
                f"{package.__name__} has with 8 bits"
            )
        kind: Callable[..., torch.optim.Optimizer] = getattr(package, name)
        settings = {name: optimizer.defaults[name] for name in _EIGHT_BIT_SETTINGS}
        groups = [
            {"params": group["params"]} | {name: group[name] for name in _EIGHT_BIT_SETTINGS}
            for group in optimizer.param_groups
        ]
        return kind(groups, **settings)

    _change_optimizers(module, shrink)


def _eight_bit_package() -> Any:
    for name in _EIGHT_BIT:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise NotOfferedError(
        "neither bitsandbytes nor torchao is installed, which have optimizers with 8 bits"
    )


def _change_optimizers(
    module: Any, change: Callable[[torch.optim.Optimizer], torch.optim.Optimizer]
) -> None:
    """Change what a module's `configure_optimizers` will return."""
    configure = module.configure_optimizers

    @wraps(configure)
    def configure_optimizers() -> Any:
        configured = configure()
        changed = {old: change(old) for old in _optimizers(configured)}
        return _replaced(configured, changed)

    module.configure_optimizers = configure_optimizers


def _optimizers(configured: Any) -> Iterator[torch.optim.Optimizer]:
    """Yield the optimizers in what `configure_optimizers` returned."""
    if isinstance(configured, torch.optim.Optimizer):
        yield configured
    for item in _items(configured):
        yield from _optimizers(item)


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _replaced(value: Any, changed: dict[torch.optim.Optimizer, torch.optim.Optimizer]) -> Any:
    """Return the same with other optimizers, and with schedulers that set these."""
    if isinstance(value, torch.optim.Optimizer):
        return changed[value]
    scheduled = getattr(value, "optimizer", None)
    if isinstance(scheduled, torch.optim.Optimizer):
        new = changed.get(scheduled, scheduled)
        for old_group, group in zip(scheduled.param_groups, new.param_groups, strict=True):
            group.update({name: old_group[name] for name in old_group if name not in group})
        value.optimizer = new
    if isinstance(value, dict):
        return {key: _replaced(item, changed) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_replaced(item, changed) for item in value)
    return value


def _name(module: Any) -> str:
    """Return the class of the user's module: the wrapped one, where the harness wrapped it."""
    inner = getattr(module, "model", module) if type(module).__name__ == "Supervised" else module
    return type(inner).__qualname__


_CHANGES: dict[ModuleChange, Callable[[Any], None]] = {
    "activation checkpointing": _checkpoint_activations,
    "channels_last": _use_channels_last,
    "fused optimizer": _use_fused_optimizer,
    "8-bit optimizer": _use_eight_bit_optimizer,
}
