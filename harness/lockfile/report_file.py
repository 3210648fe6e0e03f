"""Reads a run's `report.json`, which may come from a stranger, into plain data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.visible import one_line

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
"""The version of `report.json`."""

# A report of ten thousand cases, each as a first search leaves it and with a locked profile beside
# it, has 170 MB (`benchmarks/fleet_scale.py`).
_MAX_BYTES = 256 * 1024**2
# It has 6 million of these, and each may become an object of a hundred bytes.
_MAX_PARTS = 8_000_000
_MAX_SHOWN = 80


class UnreadableReportError(Exception):
    """The file is no report of a run; the text is the reason, such as `not JSON: ...`."""


def read_report(path: Path) -> dict[str, Any] | None:
    """Return the content of a report with its list of `cases`; None where there is no file.

    Raises UnreadableReportError for what is no regular file, too large, no JSON, or of another
    version. JSON has neither NaN nor Infinity.
    """
    try:
        data = read_bounded(path, _MAX_BYTES)
    except UnreadableFileError as error:
        raise UnreadableReportError(str(error)) from error
    if data is None:
        return None
    report = _parsed(data)
    version = report.get("version", VERSION)
    if version != VERSION or isinstance(version, bool):
        raise UnreadableReportError(f"version is {shown(version)}; {VERSION} is read")
    if not isinstance(report.get("cases"), list):
        raise UnreadableReportError(f"`cases` is {shown(report.get('cases'))}; a list is needed")
    return report


def shown(value: object) -> str:
    """Return a value of a report for a message, in one line and cut."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return one_line(json.dumps(value, default=str))[:_MAX_SHOWN]


def _parsed(data: bytes) -> dict[str, Any]:
    if sum(map(data.count, (b",", b"[", b"{"))) > _MAX_PARTS:
        raise UnreadableReportError(f"more than {_MAX_PARTS:,} values: this is no report of a run")
    try:
        report = json.loads(data, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise UnreadableReportError("nests too deeply") from error
    except ValueError as error:  # JSON, UTF-8, or a number with too many digits
        raise UnreadableReportError(f"not JSON: {one_line(str(error))[:200]}") from error
    if not isinstance(report, dict):
        raise UnreadableReportError(f"the whole of it is {shown(report)}; an object is needed")
    return report


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
