"""The form of the lockfile: locked profiles as TOML tables and text. Pure; the same bytes for equal locks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import tomli_w

from harness.lockfile import MAIN_AXES, VERSION, Lock, LockedProfile, sort

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS = 4
_WORKLOAD_ORDER = ("module", "num_parameters", "num_tensors", "parameters", "data", "num_samples", "sample")
_VERSION_ORDER = ("torch", "cuda", "driver", "lightning", "rules")
# An array of numbers as tomli-w writes it, one number a line. Strings hold no raw line breaks there.
_NUMBERS = re.compile(r"= \[\n((?: {4}[-+.\w]+,\n)+)\]")


def render(lock: Lock) -> str:
    """Return the lockfile's text: the same for equal locks, floats rounded to 4 significant digits."""
    tables: dict[str, Any] = {"version": VERSION} | lock.extra
    if lock.profiles:
        tables["profile"] = [block(profile) for profile in sort(lock.profiles)]
    text = tomli_w.dumps(tables)
    return _NUMBERS.sub(lambda match: f"= [{', '.join(match[1].replace(',', '').split())}]", text)


def block(profile: LockedProfile) -> dict[str, Any]:
    """Return a profile as the table that TOML holds, with what there is nothing to say about left out."""
    values: dict[str, Any] = {axis: profile.axes[axis] for axis in MAIN_AXES if axis in profile.axes}
    if profile.emulated:
        values["emulated"] = True
    if profile.source != "measured":
        values["source"] = profile.source
    values |= {
        "batch_size": profile.batch_size,
        "max_batch_size": profile.max_batch_size,
        "predicted_batch_size": profile.predicted_batch_size,
        "validation_batch_size": profile.validation_batch_size,
        "bounded_by": profile.bounded_by,
        "learning_rate": rounded(profile.learning_rate),
        "learning_rates": [rounded(rate) for rate in profile.learning_rates],
        "lr_refusal": profile.lr_refusal or None,
        "peak_memory_bytes": profile.peak_memory_bytes,
        "memory_limit_bytes": profile.memory_limit_bytes,
        "samples_per_second": rounded(profile.samples_per_second),
        "fingerprint": profile.fingerprint,
        "recipe": profile.recipe,
    }
    tables: dict[str, Any] = {
        "axes": {axis: value for axis, value in profile.axes.items() if axis not in MAIN_AXES},
        "device": {"name": profile.device.name, "memory_bytes": profile.device.memory_bytes},
        "workload": _ordered(profile.workload, _WORKLOAD_ORDER),
        "settings": _ordered(profile.settings),
        "made_with": _ordered(profile.made_with, _VERSION_ORDER),
        "predicted_with": _ordered(profile.predicted_with, _VERSION_ORDER),
        # The largest first, as a reader wants them.
        "predicted_peak": dict(sorted(profile.predicted_peak.items(), key=lambda item: (-item[1], item[0]))),
    }
    for key, value in profile.extra.items():
        tables[key] = {**tables[key], **value} if key == "device" else value
    filled = {key: value for key, value in values.items() if value is not None and value != []}
    return filled | {key: value for key, value in tables.items() if value != {}}


def _ordered(table: Mapping[str, Any], first: tuple[str, ...] = ()) -> dict[str, Any]:
    """Put keys into one order, whatever the order they came in: `first`, then the others by name."""
    keys = [key for key in first if key in table] + sorted(key for key in table if key not in first)
    return {key: table[key] for key in keys}


def rounded(value: float | None) -> float | None:
    """Round to the 4 significant digits that the lockfile holds."""
    return None if value is None else float(f"{value:.{_DIGITS}g}")
