"""Renders locked profiles as the TOML text of the lockfile. Pure; equal locks give equal bytes."""

from __future__ import annotations

import re
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import tomli_w

from harness.case_names import MAIN_AXES
from harness.lockfile.profiles import VERSION, Lock, LockedProfile, sort
from harness.measurement import Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS = 4
_VERSIONS = ("torch", "cuda", "driver", "lightning", "rules")
_FIRST = {
    "workload": (
        "module",
        "num_parameters",
        "num_tensors",
        "parameters",
        "data",
        "num_samples",
        "sample",
    ),
    "made_with": _VERSIONS,
    "predicted_with": _VERSIONS,
}
"""The keys that a table begins with; the others follow in alphabetical order."""

# An array of numbers as tomli-w writes it, one number per line. It cannot match inside a string,
# where tomli-w escapes line breaks.
# Longer lists stay as they are: readers refuse lines that are too long for people.
_NUMBERS = re.compile(r"= \[\n((?: {4}[-+.\w]++,\n){1,64}+)\]")


def render(lock: Lock) -> str:
    """Return the lockfile's text, with measured floats rounded to 4 significant digits."""
    tables: dict[str, Any] = {"version": VERSION} | lock.extra
    if lock.profiles:
        tables["profile"] = [block(profile) for profile in sort(lock.profiles)]
    text = _visible(tomli_w.dumps(tables))
    return _NUMBERS.sub(lambda match: f"= [{', '.join(match[1].replace(',', '').split())}]", text)


def _visible(text: str) -> str:
    """Escape characters that cannot be seen, so that a review of the file shows all that it holds.

    tomli_w escapes control characters alone. Outside of texts in quotes there are no others.
    """
    if text.isascii():
        return text
    return "".join(c if c == "\n" or c.isprintable() else _escaped(ord(c)) for c in text)


def _escaped(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 - half of a character, which no file may hold
        code = 0xFFFD
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"  # noqa: PLR2004 - TOML's own


def block(profile: LockedProfile) -> dict[str, Any]:
    """Return a profile as a TOML table, without the values that equal their default."""
    values: dict[str, Any] = {
        axis: profile.axes[axis] for axis in MAIN_AXES if axis in profile.axes
    }
    tables: dict[str, Any] = {
        "axes": {axis: value for axis, value in profile.axes.items() if axis not in MAIN_AXES},
        "device": asdict(profile.device),
    }
    if profile.device.count == 1:  # as in locks that are older than cases of several GPUs
        del tables["device"]["count"]
    for one in fields(Profile):
        value = getattr(profile, one.name)
        if isinstance(value, dict) and one.name != "axes":
            tables[one.name] = _ordered(one.name, value)
        elif one.name not in tables and value != one.default and value not in ((), ""):
            if one.name == "buckets":
                values[one.name] = [asdict(bucket) for bucket in value]
            else:
                values[one.name] = _rounded(value) if "float" in str(one.type) else value
    for key, value in profile.extra.items():
        tables[key] = {**tables[key], **value} if key == "device" else value
    return values | {key: table for key, table in tables.items() if table != {}}


def _ordered(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with its keys in the order of the file."""
    if name in ("predicted_peak", "memory", "memory_per_sample"):  # readers want the largest first
        return dict(sorted(table.items(), key=lambda item: (-item[1], item[0])))
    first = _FIRST.get(name, ())
    keys = [key for key in first if key in table]
    keys += sorted(key for key in table if key not in first)
    return {key: table[key] for key in keys}


def _rounded(value: Any) -> Any:
    """Return a number, or a list of them, rounded to the digits that the lockfile holds."""
    if isinstance(value, tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.{_DIGITS}g}")
