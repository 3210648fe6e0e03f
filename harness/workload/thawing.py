"""Notices parts of a module that a training leaves out at first, and thaws later.

A probe trains the first epoch alone. That some parameters are frozen for good is common, and no
news. So this looks for what would thaw them: a finetuning callback of Lightning's, or a hook of the
workload whose code turns gradients on or adds parameters to an optimizer.
"""

from __future__ import annotations

import dis
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_FINETUNING = "BaseFinetuning"
_LIGHTNING = ("lightning.", "pytorch_lightning.")
_FOREIGN = (*_LIGHTNING, "torch.", "harness.")
# What runs before the first step has thawed by then, so only later hooks are of interest.
_HOOKS = (
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_validation_epoch_start",
    "on_validation_epoch_end",
    "on_validation_end",
)
# A step may turn on gradients of its inputs, so only plain words count there.
_STEP = "training_step"
_WORDS = ("unfreeze", "thaw", "add_param_group")
# Functions that hooks call, and those that these call.
_MAX_DEPTH = 4
_SHOWN = 3


def thaws_later(module: Any, callbacks: list[Any], optimizers: list[Any]) -> str | None:
    """Return what is frozen in the first epoch and what may thaw it; None where nothing would.

    To be called when training begins, after the first hooks.
    """
    trained = {
        id(parameter)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
    }
    frozen: dict[str, int] = {}
    total = 0
    for name, parameter in module.named_parameters():
        elements = _num_elements(parameter)
        total += elements
        if id(parameter) not in trained:
            part = name.rpartition(".")[0].partition(".")[0] or name
            frozen[part] = frozen.get(part, 0) + elements
    if not frozen:
        return None
    where = next(_thawing([module, *callbacks], module), None)
    if where is None:
        return None
    parts = ", ".join(list(frozen)[:_SHOWN]) + (", ..." if len(frozen) > _SHOWN else "")
    return (
        f"{sum(frozen.values())} of {total} parameters ({parts}) are not trained when the training "
        f"begins, and {where} may thaw them later: a probe sees the beginning alone, so batch size "
        "and learning rate are those of the frozen phase; measure the later one, too, with "
        "harness.configurations.begin_at_epoch among trainer.callbacks, or as a model of its own, "
        "which is thawed from the start"
    )


def _num_elements(parameter: Any) -> int:
    try:
        return int(parameter.numel())
    except (RuntimeError, ValueError):  # a lazy module has no shapes before its first batch
        return 0


def _thawing(things: list[Any], module: Any) -> Iterator[str]:
    for thing in things:
        kind = type(thing)
        if any(base.__name__ == _FINETUNING and _is_lightning(base) for base in kind.__mro__):
            yield f"the callback {kind.__qualname__}"
        for name in (*_HOOKS, _STEP):
            hook = getattr(kind, name, None)
            if (
                isinstance(hook, FunctionType)
                and not hook.__module__.startswith(_FOREIGN)
                and _thaws(hook, (kind, type(module)), steps=name == _STEP, seen=set(), depth=0)
            ):
                yield f"{kind.__qualname__}.{name}"


def _thaws(
    function: FunctionType, kinds: tuple[type, ...], *, steps: bool, seen: set[int], depth: int
) -> bool:
    """Return whether a function, or one that it calls, turns on gradients or adds parameters."""
    if id(function) in seen or depth > _MAX_DEPTH:
        return False
    seen.add(id(function))
    names: set[str] = set()
    for code in _codes(function.__code__):
        names.update(code.co_names)
        if not steps and _sets_gradients(code):
            return True
    if any(name.lower().startswith(_WORDS) for name in names):
        return True
    called = [getattr(kind, name, None) for kind in kinds for name in names]
    called += [function.__globals__.get(name) for name in names]
    return any(
        isinstance(one, FunctionType)
        and not one.__module__.startswith(_FOREIGN)
        and _thaws(one, kinds, steps=steps, seen=seen, depth=depth + 1)
        for one in called
    )


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code, and that of the functions and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _sets_gradients(code: CodeType) -> bool:
    if "requires_grad_" in code.co_names:
        return True
    return "requires_grad" in code.co_names and any(
        one.opname == "STORE_ATTR" and one.argval == "requires_grad"
        for one in dis.get_instructions(code)
    )


def _is_lightning(kind: type) -> bool:
    return kind.__module__.startswith(_LIGHTNING)
