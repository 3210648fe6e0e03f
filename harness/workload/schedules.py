"""Reads an optimizer's learning rates apart from its schedules, and keeps these from changing them.

A training may ask its schedules for their rates, and step them by itself. They go on as in any
training, but write into a stand-in for their optimizer.
"""

from __future__ import annotations

from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A schedule may hold others, as SequentialLR and hand-written warm-ups do.
_MAX_DEPTH = 4


class _StandIn:
    """Takes the place of an optimizer in its schedules: it has groups of its own."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self.param_groups = [dict(group) for group in optimizer.param_groups]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


def configured_rates(optimizer: Any, schedules: list[Any]) -> list[float | None]:
    """Return each group's learning rate, apart from what its schedules make of it.

    A schedule with a warm-up has already lowered `lr`; the original is in `initial_lr`. OneCycleLR
    and CyclicLR have a rate of their own, the one at their peak. None: the optimizer chooses.
    """
    rates = [
        group.get("max_lr", group.get("initial_lr", group.get("lr")))
        for group in optimizer.param_groups
    ]
    for schedule in schedules:
        peaks = getattr(schedule, "max_lrs", None)
        if isinstance(peaks, list) and len(peaks) == len(rates):
            rates = peaks
    return [None if rate is None else float(rate) for rate in rates]


def detach_schedules(trainer: Any, module: Any, optimizer: Any) -> None:
    """Let the schedules of an optimizer write into a stand-in: Lightning's and the module's own."""
    stand_in = _StandIn(optimizer)
    configured = []
    for config in trainer.lr_scheduler_configs:
        # A sweep does not validate, so what ReduceLROnPlateau waits for may never be logged.
        config.strict = False
        configured.append(config.scheduler)
    found = list(_schedules([*configured, *_values(module)], optimizer, 0))
    for schedule in found:
        for name, value in list(vars(schedule).items()):
            if _stands_for(value, optimizer):
                setattr(schedule, name, stand_in)
    outermost = {id(one): one for one in [*configured, *found] if callable(_step_of(one))}
    for schedule in outermost.values():
        schedule.step = _lenient(schedule.step)


def _schedules(things: Iterable[Any], optimizer: Any, depth: int) -> Iterator[Any]:
    """Yield the schedules of an optimizer among things, and those that they hold."""
    if depth == _MAX_DEPTH:
        return
    for thing in things:
        if isinstance(thing, list | tuple):
            yield from _schedules(thing, optimizer, depth + 1)
        elif callable(_step_of(thing)):
            held = _values(thing)
            # What has groups of parameters itself is an optimizer, around another one.
            holds = any(_stands_for(value, optimizer) for value in held)
            if holds and not hasattr(thing, "param_groups"):
                yield thing
            yield from _schedules(held, optimizer, depth + 1)


def _stands_for(value: Any, optimizer: Any) -> bool:
    """Return whether a value is the optimizer, or one around it, as Accelerate's is."""
    around = hasattr(value, "param_groups") and getattr(value, "optimizer", None) is optimizer
    return value is optimizer or around


def _step_of(thing: Any) -> Any:
    return getattr(type(thing), "step", None)


def _values(thing: Any) -> list[Any]:
    return list(getattr(thing, "__dict__", {}).values())


def _lenient(step: Any) -> Any:
    """Return a step that does nothing behind the last step of its schedule.

    A sweep may have more steps than a schedule, and OneCycleLR raises after its last one.
    """

    @wraps(step)
    def lenient(*arguments: Any, **options: Any) -> None:
        with suppress(ValueError, IndexError):
            step(*arguments, **options)

    return lenient
