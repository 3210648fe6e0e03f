"""Collects a case's recipe, the settings that change what its values mean, and their digest.

Settings that only change how the search finds and judges the values are no part of it: mode,
init_val, max_trials, probe_timeout, when, num_training, max_seconds, plot_path, bounds. Nor are the
keywords of the Trainer that a probe only tells: a workload that turns them into memory is caught by
its bounds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.lightning_names import TOLD
from harness.matrix.settings import LrRangeSettings, SearchSettings
from harness.matrix.trainer_settings import TrainerSettings
from harness.workload import defaults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.case_names import Scalar
    from harness.matrix.case import Case
    from harness.matrix.field_types import Settings

_FORMAT = 1
"""Increase this number when a default or the meaning of a setting changes.

The digest covers only settings that differ from their defaults, so it would not change by itself.
"""

_SEARCH = (
    "objective",
    "steps_per_trial",
    "min_batch_size",
    "max_batch_size",
    "target_memory_fraction",
    "safety_factor",
    "round_to",
    "global_batch_size",
    "validation",
    "allow_thrashing",
    "worst_batches",
    "inference",
)
# A search of inference alone reads these, too.
_VALIDATION_SIZES = (
    "validation_min_batch_size",
    "validation_max_batch_size",
    "validation_steps_per_trial",
)
_VALIDATION = ("validation_target_memory_fraction", *_VALIDATION_SIZES)
# num_training is only a budget. Where it is so small that it shortens the trials, the lock's own
# lr_horizon tells, and a rate of a shorter horizon is not judged.
_LR_RANGE = ("lr_min", "lr_max", "horizon", "seeds", "stages")
_DEFAULT_WORKLOAD = {"loss": defaults.LOSS, "optimizer": defaults.OPTIMIZER}


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings that the values of a case were made with."""

    digest: str
    """`sha256:` and the digest of the settings."""
    settings: dict[str, Any]
    """The settings that differ from the defaults: dotted names and TOML values."""


def recipe(case: Case, environment: Mapping[str, Scalar]) -> Recipe:
    """Return the recipe of a case.

    `environment` holds, by name, the settings outside the matrix that change memory or speed:
    allocator settings, cudnn.benchmark and the like.

    A preset sets how much a run does to find the values: those of five seeds and of three mean the
    same. So what it sets is left out, and no preset makes a lock stale.
    """
    case = case.without_preset
    search: tuple[str, ...] = _SEARCH
    if case.search.validation == "search":
        search += _VALIDATION
    elif case.search.inference:
        search += _VALIDATION_SIZES
    trainer = TrainerSettings.model_fields
    changed = {
        **_without_defaults(case.workload, _DEFAULT_WORKLOAD),
        "trainer": _without_defaults(
            {name: value for name, value in case.trainer.items() if name not in TOLD},
            {name: trainer[name].default for name in case.trainer},
        ),
        "search": _changed(case.search, SearchSettings(), search) | _global_batch(case),
        "lr_range": _lr_range(case.lr_range),
        "buckets": _buckets(case),
        "gpu": _without_defaults({"budget": case.device.budget}, {}),
        "environment": environment,
    }
    flat = dict(
        sorted(
            pair for name, value in changed.items() if value != {} for pair in _flatten(value, name)
        )
    )
    canonical = json.dumps([_FORMAT, flat], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return Recipe(f"sha256:{digest}", {name: _for_toml(value) for name, value in flat.items()})


def _global_batch(case: Case) -> dict[str, Any]:
    """Return the samples of a step on all ranks, where the matrix states them."""
    total = case.global_batch_size
    return {} if total is None else {"global_batch_size": total}


def _buckets(case: Case) -> dict[str, Any]:
    """Return the edges, and what they replace; the data of one of them tell those of the others."""
    if not case.buckets:
        return {}
    return {
        "edges": [bucket["edge"] for bucket in case.buckets],
        "arguments": list(case.bucket_arguments),
    }


def _lr_range(settings: LrRangeSettings) -> dict[str, Any]:
    """Return what the learning rate depends on; further strategies are only drawn.

    Where a sweep decides, so does the number of its steps.
    """
    names = (*_LR_RANGE, "num_training") if settings.decides_by_sweeps else _LR_RANGE
    strategy = settings.strategy[0]
    decides = strategy if isinstance(strategy, str) else strategy.plain()
    default = {"strategy": LrRangeSettings().strategy[0]}
    return {
        **_changed(settings, LrRangeSettings(), names),
        **_without_defaults({"strategy": decides}, default),
    }


def _changed(settings: Settings, defaults: Settings, names: tuple[str, ...]) -> dict[str, Any]:
    return _without_defaults(
        {name: getattr(settings, name) for name in names},
        {name: getattr(defaults, name) for name in names},
    )


def _without_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if value is not None and value != defaults.get(name)
    }


def _flatten(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values; a list of scalars or an empty collection is one value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            if (key, item) != ("init_args", {}):
                yield from _flatten(item, name + _part(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, dict | list) for item in value):
        for number, item in enumerate(value):
            yield from _flatten(item, f"{name}.{number}")
    else:
        yield name, value


def _part(key: Any) -> str:
    """Return a key as a part of a dotted name; a whole number is told from a text of digits."""
    if isinstance(key, int):
        return f"[{key}]"
    return f".{json.dumps(key) if '.' in key else key}"


def _for_toml(value: Any) -> Any:
    """Return a value that TOML can hold: null and an empty table become texts."""
    if isinstance(value, list | tuple):
        return [_for_toml(item) for item in value]
    return "null" if value is None else "{}" if value == {} else value
