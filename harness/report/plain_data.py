"""Makes values ready for JSON, which has neither dataclasses, tuples nor dates, and no NaN."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from datetime import date, time
from typing import Any

# Nearly all values of a report are of these.
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
_NAMES: dict[type[Any], tuple[str, ...]] = {}
"""The fields of the dataclasses that were met: a report has ten thousands of each."""


def plain_data(value: Any) -> Any:
    """Return a value as JSON holds it.

    Dataclasses become objects, tuples lists, and numbers that are not finite None. The dates and
    times of TOML, which a lock may hold under a key of others, become text (ISO 8601).
    """
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    if is_dataclass(value):
        return {name: plain_data(getattr(value, name)) for name in _names(kind)}
    return value.isoformat() if isinstance(value, (date, time)) else value


def _names(kind: type[Any]) -> tuple[str, ...]:
    known = _NAMES.get(kind)
    if known is None:
        known = _NAMES[kind] = tuple(one.name for one in fields(kind))
    return known
