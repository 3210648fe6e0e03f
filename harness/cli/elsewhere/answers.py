"""Holds what such a process is asked, and what it answers: plain data, written as JSON."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Moved(TypedDict):
    """The other checkout whose code is to run."""

    old: str
    """The top of the checkout that the search path, and installations, lead to."""
    new: str
    """The top of the other one."""
    first: list[str]
    """The folders that are searched first."""


class Asked(TypedDict):
    """The request."""

    matrix: str | None
    """As `--matrix` gives it."""
    lock: str | None
    case: str | None
    """None: every case that names a GPU, or every case at all where `gpus` are given."""
    gpus: list[str]
    """Labels in place of each case's own GPU."""
    holders: dict[str, int]
    """A batch size by case and GPU: what holds memory at the peak of it is wanted as well."""
    expected: int | None
    """The batch size that searches try first."""
    moved: Moved | None
    with_peak: bool
    """Whether what holds memory at the largest batch is wanted."""


class Held(TypedDict):
    """What holds memory at the peak of a batch size."""

    batch_size: int
    holders: dict[str, int]
    """Bytes by holder, such as `activation of blocks.0`."""
    lines: dict[str, str]
    """The line of the user's code behind each holder that has one."""


class CaseAnswer(TypedDict):
    """The prediction of one case on one GPU."""

    kind: Literal["predicted"]
    case: str
    gpu: str
    """Its label."""
    max_batch_size: int
    safe_batch_size: int
    bounded_by: str
    peak_memory_bytes: int
    memory_limit_bytes: int
    max_drop: float
    """The case's `bounds.batch_size.max_drop`."""
    torch: str
    settings: dict[str, Any]
    """Those of the recipe that differ from their defaults."""
    workload: dict[str, Any]
    """The parts of the fingerprint."""
    peak: Held | None
    wanted: Held | None
    """At the batch size that `holders` asks for."""
    notes: list[str]


class CaseRefusal(TypedDict):
    """Why there is no prediction of a case."""

    kind: Literal["refused"]
    case: str | None
    """None: of none at all."""
    gpu: str | None
    reason: str
    detail: str
    """The traceback of the user's code; empty where there is none."""
    is_machine: bool
    """Whether another revision would fare no better: the machine, or what is installed."""


def key(case: str, gpu: str) -> str:
    """Return the key of `Asked.holders`."""
    return f"{case} on {gpu}"
