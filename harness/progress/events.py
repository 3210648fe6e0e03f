"""Tells what a case does, as an event for those who show progress."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Kind = Literal["begin", "phase", "probe", "said", "end"]


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a case."""

    case_id: str
    kind: Kind
    text: str = ""
    """The name of a phase, or one line on what has just happened; of a case that begins, where."""
    batch_size: int | None = None
    """What a probe has shown: the size, and whether it fits. None: it has proved nothing."""
    fits: bool = False


_listeners: list[Callable[[Event], None]] = []


@contextmanager
def listening(listener: Callable[[Event], None]) -> Iterator[None]:
    """Give each event within the block to a listener, in the thread that tells it."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell(event: Event) -> None:
    """Give an event to all who listen."""
    for listener in tuple(_listeners):
        listener(event)


@contextmanager
def working_on(case_id: str, where: str = "") -> Iterator[None]:
    """Tell that a case begins, and however the block ends, that the case does.

    where: what tells it from others with this id, such as `on H100`.
    """
    tell(Event(case_id, "begin", where))
    try:
        yield
    finally:
        tell(Event(case_id, "end"))


_within: ContextVar[str] = ContextVar("_within", default="")


@contextmanager
def within(name: str) -> Iterator[None]:
    """Name what the phases that are told within the block belong to: `prediction: search`."""
    token = _within.set(f"{name}: ")
    try:
        yield
    finally:
        _within.reset(token)


def tell_phase(case_id: str, name: str) -> None:
    """Tell that a case begins a phase, such as `search`; what was known of sizes is of the last."""
    tell(Event(case_id, "phase", f"{_within.get()}{name}"))
