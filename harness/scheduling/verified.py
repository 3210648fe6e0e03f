"""Remembers when each case was last measured and within its bounds.

The folder of results has the times of this checkout. A fresh one knows when a profile was locked:
an update has measured it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.errors import HarnessError
from harness.files import write_text
from harness.lock_history import read_history

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NAME = "verified.json"
"""The file in the folder of results."""

_VERSION = 1
_MAX_BYTES = 16 << 20


def read_verified(folder: Path) -> dict[str, float]:
    """Return when each case was verified, in seconds since 1970.

    Nothing is known from a file that cannot be read: anybody may have put it there.
    """
    try:
        data = read_bounded(folder / NAME, _MAX_BYTES)
        content: Any = json.loads(data) if data is not None else {}
        cases = content["cases"] if content.get("version") == _VERSION else {}
        return {str(name): float(when) for name, when in cases.items() if math.isfinite(when)}
    except (UnreadableFileError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def write_verified(folder: Path, cases: Iterable[str], now: float) -> None:
    """Note that cases were verified now; the times of all others stay. Raises HarnessError."""
    times = read_verified(folder) | dict.fromkeys(cases, float(round(now)))
    content = {"version": _VERSION, "cases": dict(sorted(times.items()))}
    write_text(folder / NAME, json.dumps(content, indent=1) + "\n", follow=False)


def locked_times(lock: Path) -> Mapping[str, float]:
    """Return when the profiles of each case became what they are, by the commits of the lockfile.

    Nothing is known of a case that is not committed, and nothing at all without git.
    """
    try:
        revisions = read_history(lock).revisions
    except HarnessError:
        return {}
    newest = revisions[0].profiles
    times: dict[str, float] = {}
    differing: set[str] = set()
    for revision in revisions:
        for name, profiles in newest.items():
            if name not in differing and revision.profiles.get(name) != profiles:
                differing.add(name)
            if name not in differing and revision.date is not None:
                times[name] = revision.date.timestamp()
    return times
