"""Watches the steps of an optimizer, also of one that torch's own hooks do not reach."""

from __future__ import annotations

from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    StepHook = Callable[[Any, tuple[Any, ...], dict[str, Any]], None]


def watch_steps(
    optimizer: Any, *, before: StepHook | None = None, after: StepHook | None = None
) -> None:
    """Call the hooks around each step that takes effect, as torch's step hooks are called.

    A step that a GradScaler skips never calls the optimizer, and so no hook.
    """
    if _calls_hooks(optimizer):
        if before is not None:
            optimizer.register_step_pre_hook(before)
        if after is not None:
            optimizer.register_step_post_hook(after)
    else:
        optimizer.step = _watched(optimizer, before, after)


def _calls_hooks(optimizer: Any) -> bool:
    """Return whether torch's hooks see the steps of this optimizer.

    torch wraps the `step` of a class in `Optimizer.__init__`. Many optimizers that wrap another one
    skip that, and some set a `step` of their own on the object. A scheduler's does no harm: it
    calls the step of the class.
    """
    own = vars(optimizer).get("step")
    return (
        hasattr(optimizer, "_optimizer_step_post_hooks")
        and getattr(getattr(type(optimizer), "step", None), "hooked", False)
        and (own is None or hasattr(own, "_wrapped_by_lr_sched"))
    )


def _watched(optimizer: Any, before: StepHook | None, after: StepHook | None) -> MethodType:
    """Return the optimizer's `step` with hooks.

    It is a bound method, because schedulers look for its function, and because a copy of the
    optimizer is then given the step of its own class.
    """
    step = optimizer.step
    function = getattr(step, "__func__", None)

    @wraps(step)
    def watched(owner: Any, *arguments: Any, **named: Any) -> Any:
        if owner is optimizer and before is not None:
            before(owner, arguments, named)
        # A scheduler's wrapper has no function to bind: it knows its optimizer.
        inner = step if function is None else function.__get__(owner)
        result = inner(*arguments, **named)
        if owner is optimizer and after is not None:
            after(owner, arguments, named)
        return result

    # Pickle and copy find a method by this name.
    watched.__name__ = "step"
    return MethodType(watched, optimizer)
