"""Refuses TOML that no lockfile needs, and that would cost a parser more than its size.

Python's `tomllib` takes time and memory in proportion to a text, with two exceptions: a dotted key
costs the square of its number of parts, and values that hold one another exceed the limit of
recursion. Values of two bytes each become objects of a hundred.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_BYTES = 24 * 1024**2
"""10,000 profiles, each with a measurement, a prediction and a dozen settings, are 17 MB."""

# Those 10,000 profiles have 1.3 million: line breaks, and what stands between values.
_MAX_PARTS = 2_500_000
_SEPARATORS = "\n,=[{"
# They have 230,000 of these outside of their texts. Behind each there may be a table, for which
# tomllib needs a thousand bytes.
_MAX_NESTING = 300_000
_NESTING = ".[{"
# The longest lines hold texts of a workload; a number of this many digits is still read quickly.
_MAX_LINE = 2**18
# gpu-profile writes three levels. Far deeper tables would exceed Python's recursion limit.
_MAX_DEPTH = 32
# Larger integers overflow in arithmetic with floats, and Python refuses to print the largest.
_MAX_BITS = 1023

_MANY_DOTS = re.compile(rf"^(?:[^.\n]*+\.){{{_MAX_DEPTH}}}", re.MULTILINE)
_TEXT = r"""(?:"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_PART = rf"(?:[\w-]++|{_TEXT})"
_DOT = r"[ \t]*+\.[ \t]*+"
# Each token begins where the last one ended, so that the time is linear, and no dot inside of a
# text or a comment counts.
_LONG_TEXT_OR_COMMENT = r"""
    [#][^\n]*+
    | "{3} (?:[^"\\]|\\[\s\S]|"(?!""))*+ "{3,5}
    | '{3} (?:[^']|'(?!''))*+ '{3,5}
"""
_NO_STRUCTURE = re.compile(rf"{_LONG_TEXT_OR_COMMENT} | {_TEXT}", re.VERBOSE)
_TOKEN = re.compile(
    rf"""
    {_LONG_TEXT_OR_COMMENT}
    | {_PART} (?:{_DOT}{_PART}){{0,{_MAX_DEPTH - 1}}}+ (?P<deep>{_DOT}{_PART})?
    | [\s\S]
    """,
    re.VERBOSE,
)

TOO_DEEP = "nests too deeply for a lockfile: restore it from git"
TOO_MANY_DIGITS = "a number with too many digits: restore the file from git"


def excess(text: str) -> tuple[str, int] | None:
    """Return why a text must not be parsed, and the line of that; None if it may be."""
    if _count(text, _SEPARATORS) > _MAX_PARTS:
        return f"more than {_MAX_PARTS:,} lines and values: this is no lockfile", 1
    if (start := _too_long(text)) is not None:
        return (
            f"a line of more than {_MAX_LINE // 1024} KiB: this is no lockfile",
            _line_at(text, start),
        )
    if (
        _count(text, _NESTING) > _MAX_NESTING
        and _count(_NO_STRUCTURE.sub("", text), _NESTING) > _MAX_NESTING
    ):
        return f"more than {_MAX_NESTING:,} tables and lists: this is no lockfile", 1
    if _MANY_DOTS.search(text):
        for token in _TOKEN.finditer(text):
            if token["deep"]:
                return TOO_DEEP, _line_at(text, token.start())
    return None


def excess_of(tables: dict[str, Any]) -> str | None:
    """Return why parsed tables must not be used: too deep, or a number that is too large."""
    for depth, level in enumerate(_levels(tables), 1):
        if depth > _MAX_DEPTH:
            return TOO_DEEP
        if any(isinstance(value, int) and value.bit_length() > _MAX_BITS for value in level):
            return TOO_MANY_DIGITS
    return None


def deepest_line(text: str) -> int | None:
    """Return the first line with more brackets than a lockfile nests, or None."""
    return _first(text, lambda line: line.count("[") + line.count("{") > _MAX_DEPTH)


def longest_number_line(text: str) -> int | None:
    """Return the first line with a run of hundreds of digits, or None."""
    return _first(text, re.compile(r"(?<![0-9a-fA-F_])[0-9a-fA-F_]{250}").search)


def lines(text: str, start: int = 0) -> Iterator[str]:
    """Yield the lines from a place on, one at a time: millions of them would take memory."""
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _first(text: str, found: Callable[[str], object]) -> int | None:
    return next((number for number, line in enumerate(lines(text), 1) if found(line)), None)


def _count(text: str, characters: str) -> int:
    return sum(map(text.count, characters))


def _line_at(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _too_long(text: str) -> int | None:
    """Return the start of a line that is too long, or None."""
    start = 0
    while len(text) - start > _MAX_LINE:
        end = text.rfind("\n", start, start + _MAX_LINE + 1)
        if end < 0:
            return start
        start = end + 1
    return None


def _levels(tables: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the values of each level of nesting, without recursion: the levels may be too many."""
    level: list[Any] = [tables]
    while level := [
        item
        for value in level
        if isinstance(value, (dict, list))
        for item in (value.values() if isinstance(value, dict) else value)
    ]:
        yield level
