"""Reads sizes and percentages as people write them, and formats bytes for people."""

from __future__ import annotations

import json
import re
from fractions import Fraction

_UNITS = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_BINARY = 1024
_MINUTE = 60
_HOUR = 3600
_SECONDS_UNTIL = 10 * _MINUTE
_MAX_SIZE = 2**63
_WHOLE_FROM = 100
_MAX_SHOWN = 60
_CORRECT = {unit.lower(): unit for unit in _UNITS}
# Bounded, because int() refuses texts of too many digits.
_NUMBER = r"(\d{1,18}(?:\.\d{1,9})?)"
_SIZE = re.compile(_NUMBER + r"[ ]?([A-Za-z]+)")
_PERCENT = re.compile(_NUMBER + r"[ ]?%")

_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")
_MAX_DURATION = 31 * 24 * _HOUR

DURATION_FORM = "a duration such as 90s, 30m, 2h or 1h30m"
SIZE_FORM = "a size such as 40GiB, 141GB or 512MiB, or a whole number of bytes"
PERCENT_FORM = "a percentage such as 2%, or a fraction such as 0.02"


def parse_size(value: object) -> int:
    """Return a size in bytes, given as `40GiB` (binary), `141GB` (decimal) or a whole number.

    Raises ValueError for anything else, for sizes under one byte, and for sizes from 2**63 bytes.
    The message says what is allowed.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number, unit = match.groups()
        if unit not in _UNITS:
            likely = _CORRECT.get(unit.lower())
            hint = (
                f"did you mean {number}{likely}?"
                if likely
                else f"the units are {', '.join(_UNITS)}"
            )
            raise ValueError(f"{_shown(value)} has no known unit; {hint}")
        size = int(Fraction(number) * _UNITS[unit])
    else:
        raise ValueError(f"{_shown(value)} is not allowed; {SIZE_FORM}")
    if size < 1:
        raise ValueError(f"{_shown(value)} is not allowed; a size is at least one byte")
    if size >= _MAX_SIZE:
        raise ValueError(
            f"{_shown(value)} is not allowed; a size is less than {_MAX_SIZE // 1024**4} TiB"
        )
    return size


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as `90s`, `30m`, `1.5h` or `1h30m`.

    Raises ValueError for anything else, also for a number without a unit, and for durations that
    are not above zero or longer than 31 days. The message says what is allowed.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise ValueError(f"{_shown(text)} is not allowed; {DURATION_FORM}")
    seconds = sum(
        float(number) * unit
        for number, unit in zip(match.groups(), (_HOUR, _MINUTE, 1), strict=True)
        if number
    )
    if not 0 < seconds <= _MAX_DURATION:
        raise ValueError(
            f"{_shown(text)} is not allowed; a duration is above 0s and at most "
            f"{_MAX_DURATION // _HOUR}h"
        )
    return seconds


def parse_percent(value: object) -> float:
    """Return a share from 0 to 1, given as `2%` or as 0.02.

    Raises ValueError for anything else; the message says what is allowed. A bare 2 is refused,
    because it may mean 2% or 200%.
    """
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value.strip())):
        share = float(Fraction(match[1]) / 100)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        share = value
    else:
        raise ValueError(f"{_shown(value)} is not allowed; {PERCENT_FORM}")
    if not 0 <= share <= 1:
        raise ValueError(f"{_shown(value)} is not between 0% and 100%; {PERCENT_FORM}")
    return float(share)


def format_bytes(num_bytes: float) -> str:
    """Return bytes in the binary unit that keeps the number under 1024: `470.5 MiB`."""
    if abs(num_bytes) < _BINARY:
        return f"{num_bytes:.0f} B"
    value = float(num_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        value /= _BINARY
        # Rounded first, because 1023.96 MiB would otherwise read 1024.0 MiB.
        if abs(round(value, 1)) < _BINARY:
            return f"{value:.1f} {unit}"
    return f"{value / _BINARY:.1f} TiB"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def format_speed(samples_per_second: float) -> str:
    """Return samples per second: whole from 100 on, one decimal below."""
    return f"{samples_per_second:.{0 if samples_per_second >= _WHOLE_FROM else 1}f}"


def format_around(value: float, spread: float | None) -> str:
    """Return a speed with its standard deviation, as `812 ± 4.5`; without one as `812`."""
    return format_speed(value) + ("" if spread is None else f" ± {format_spread(spread)}")


def format_spread(spread: float) -> str:
    """Return a standard deviation with two digits, and never with an exponent: `220`, `4.5`."""
    return f"{float(f'{spread:.2g}'):g}"


def format_seconds(seconds: float) -> str:
    """Return a duration roughly, as `12 seconds`, `3 minutes` or `1.5 hours`."""
    if seconds >= _HOUR:
        return f"{seconds / _HOUR:.1f} hours"
    unit = "second" if seconds < _MINUTE else "minute"
    number = max(round(seconds / (1 if seconds < _MINUTE else _MINUTE)), 1)
    return f"{number} {unit}{'' if number == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """Return a duration as it is given: `45s`, `30m`, `1h30m`; seconds only under ten minutes."""
    whole = max(1, round(seconds))
    if whole >= _SECONDS_UNTIL:
        whole = round(whole / _MINUTE) * _MINUTE
    hours, rest = divmod(whole, _HOUR)
    minutes, left = divmod(rest, _MINUTE)
    parts = ((hours, "h"), (minutes, "m"), (left, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)
