"""Checks what a zygote and its probes send, before anything relies on it.

The user's code runs in their processes and may write into the pipes, by mistake or on purpose.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.failures.tracebacks import cut
from harness.protocol.lr import LoadingResult, RatesResult, StrategyResult, SweepResult
from harness.protocol.messages import (
    DescribeResult,
    Event,
    Failure,
    HoldersResult,
    InferResult,
    Phase,
    Report,
    TrainResult,
)
from harness.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Collection

# No message of ours is longer than the curve of the longest sweep.
LONGEST_LINE = 64 << 20
_LONGEST_DETAIL = 2000
# The part of a wrong message that is shown.
_SHOWN = 100

_RESULTS: dict[str, Any] = {
    "train": TrainResult,
    "infer": InferResult,
    "lr_range": SweepResult | Failure,
    "rates": RatesResult | Failure,
    "loading": LoadingResult | Failure,
    "lr_strategy": StrategyResult | Failure,
    "describe": DescribeResult | Failure,
    "holders": HoldersResult | Failure,
}
_BLAME = "the workload writes to descriptors that it has not opened"


class _Report(TypedDict, total=False):
    """A Report whose result is not looked at yet: the task says what it has to be."""

    phase: Phase
    result: Any
    afresh: str


class ProtocolError(Exception):
    """A message is not what it should be; the text says what came."""


def read_event(line: bytes, expected: Collection[str]) -> Event:
    """Return the event of a line from a zygote. Raises ProtocolError where it is none of these."""
    try:
        message = _encodable(json.loads(line))
    except (ValueError, RecursionError):
        message = None
    kind = message.get("event") if isinstance(message, dict) else None
    if kind not in (*expected,):
        raise ProtocolError(
            f"sent `{shown(line)}`, where its protocol has {', '.join(sorted(expected))}: {_BLAME}"
        )
    try:
        return cast("Event", _shortened(_adapter("event").validate_python(message, strict=True)))
    except ValidationError as error:
        raise ProtocolError(f"sent a wrong `{kind}` ({_mistake(error)}): {_BLAME}") from None


def read_report(report: Any, garbage: str | None, task: str) -> Report:
    """Return the report of a probe with this task. Raises ProtocolError where it is none."""
    if garbage is not None:
        raise ProtocolError(f"reported `{shown(garbage.encode())}`, which is no report: {_BLAME}")
    try:
        told: Report = _adapter("report").validate_python(report, strict=True)
        if "result" in told:
            result = _adapter(task).validate_python(told["result"], strict=True)
            told["result"] = _shortened(result)
    except ValidationError as error:
        raise ProtocolError(f"reported a wrong result ({_mistake(error)}): {_BLAME}") from None
    return told


def shown(text: bytes) -> str:
    """Return the beginning of what came, on one line and safe to show."""
    head = one_line(text[:_SHOWN].decode(errors="replace"))
    return head + ("…" if len(text) > _SHOWN else "")


def _shortened(message: Any) -> Any:
    """Cut the texts of a failure, which the probe's side has cut, unless it is forged."""
    if isinstance(message.get("traceback"), str):
        message["traceback"] = cut([message["traceback"]])
    if isinstance(message.get("detail"), str):
        message["detail"] = message["detail"][:_LONGEST_DETAIL]
    return message


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    if name == "event":
        return TypeAdapter(Annotated[Event, Field(discriminator="event")])
    return TypeAdapter(_Report if name == "report" else _RESULTS[name])


def _mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    value = shown(repr(first["input"]).encode(errors="backslashreplace"))
    return f"{one_line(where)}: {first['msg']}, not {value}"


def _encodable(value: Any) -> Any:
    """Return JSON's data with lone surrogates escaped, as names of files may have them.

    No file, terminal or channel of xdist accepts them.
    """
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value
