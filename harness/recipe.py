"""The recipe: every setting that changes what the values of a case mean, as a digest and in readable form.

How the search got there is no part of it: mode, init_val, max_trials, probe_timeout, when, plot_path, bounds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import defaults
from harness.settings import LrRangeSettings, SearchSettings
from harness.trainer_settings import TrainerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.matrix import Case
    from harness.measurement import Scalar
    from harness.settings import Settings

_FORMAT = 1
"""Raised when a default, or what a setting means, changes: the digest covers only what is not the default."""

_SEARCH = (
    "steps_per_trial",
    "min_batch_size",
    "max_batch_size",
    "target_memory_fraction",
    "safety_factor",
    "round_to",
    "validation",
    "allow_thrashing",
)
_VALIDATION = (
    "validation_target_memory_fraction",
    "validation_min_batch_size",
    "validation_max_batch_size",
    "validation_steps_per_trial",
)
_LR_RANGE = ("lr_min", "lr_max", "num_training", "seeds")
_DEFAULT_WORKLOAD = {"loss": defaults.LOSS, "optimizer": defaults.OPTIMIZER}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the values of a case were made with."""

    digest: str
    """`sha256:` and the digest of the settings."""
    settings: dict[str, Any]
    """Dotted names and values, as TOML takes them, of the settings that are not the defaults."""


def recipe(case: Case, environment: Mapping[str, Scalar]) -> Recipe:
    """Return the recipe of a case.

    `environment` holds what changes memory or speed outside of the matrix, by name: allocator settings,
    cudnn.benchmark and the like.
    """
    search = _SEARCH + (_VALIDATION if case.search.validation == "search" else ())
    trainer = TrainerSettings.model_fields
    changed = {
        **_without_defaults(case.workload, _DEFAULT_WORKLOAD),
        "trainer": _without_defaults(case.trainer, {name: trainer[name].default for name in case.trainer}),
        "search": _changed(case.search, SearchSettings(), search),
        "lr_range": _changed(case.lr_range, LrRangeSettings(), _LR_RANGE),
        "gpu": _without_defaults({"budget": case.device.budget}, {}),
        "environment": environment,
    }
    flat = dict(
        sorted(pair for name, value in changed.items() if value != {} for pair in _flatten(value, name))
    )
    canonical = json.dumps([_FORMAT, flat], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return Recipe(f"sha256:{digest}", {name: _for_toml(value) for name, value in flat.items()})


def _changed(settings: Settings, defaults: Settings, names: tuple[str, ...]) -> dict[str, Any]:
    return _without_defaults(
        {name: getattr(settings, name) for name in names}, {name: getattr(defaults, name) for name in names}
    )


def _without_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if value is not None and value != defaults.get(name)
    }


def _flatten(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and scalars; lists of scalars stay whole, empty collections are values."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            if (key, item) != ("init_args", {}):
                yield from _flatten(item, f"{name}.{json.dumps(key) if '.' in key else key}")
    elif isinstance(value, list | tuple) and any(isinstance(item, dict | list) for item in value):
        for number, item in enumerate(value):
            yield from _flatten(item, f"{name}.{number}")
    else:
        yield name, value


def _for_toml(value: Any) -> Any:
    """TOML has no null, and no need of empty tables here."""
    if isinstance(value, list | tuple):
        return [_for_toml(item) for item in value]
    return "null" if value is None else "{}" if value == {} else value
