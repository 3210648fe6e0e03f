"""Defines the values of a YAML document, with their positions, and reads its plain scalars.

Scalars follow the core schema of YAML 1.2: yaml.org/spec/1.2.2, chapter 10.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MAX_BITS = 1023
"""The limit of a whole number: a larger one fits no float, and may be too long to print."""

_CONSTANTS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_NAN = re.compile(r"\.(?:nan|NaN|NAN)")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The line and the column at which a node starts, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a file."""

    line: int
    message: str


class Map(dict[Any, Any]):
    """A mapping that knows where it and its keys are; a key is a string, or a whole number."""

    __slots__ = ("at", "keys_at")

    def __init__(self, at: Position) -> None:
        super().__init__()
        self.at = at
        self.keys_at: dict[str | int, Position] = {}


class Seq(list[Any]):
    """A sequence that knows where it and its items are."""

    __slots__ = ("at", "items_at")

    def __init__(self, at: Position) -> None:
        super().__init__()
        self.at = at
        self.items_at: list[Position] = []


def resolve(text: str) -> Any:
    """Return the value of a plain (unquoted) scalar by the core schema.

    Raises ValueError for a whole number of more than MAX_BITS bits.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return _bounded(int(text))
    if _OCTAL_OR_HEX.fullmatch(text):
        return _bounded(int(text, base=0))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text) or _NAN.fullmatch(text):
        # Python's float() accepts them only without the dot.
        return float(text.replace(".", ""))
    return text


def _bounded(number: int) -> int:
    if number.bit_length() > MAX_BITS:
        raise ValueError(f"a number of more than {MAX_BITS} bits")
    return number
