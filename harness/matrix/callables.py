"""Callables that a matrix names, and the strategies of an LR range test, of which some are such."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from harness.matrix.field_types import CLASS_PATH, CROSS_FIELD, Allowed, Settings
from harness.matrix.references import Unresolved


class CallableSpec(Settings):
    """A callable and its arguments, in LightningCLI's convention: `class_path` and `init_args`."""

    class_path: Annotated[
        str,
        Field(pattern=CLASS_PATH),
        Allowed("the dotted path of a class or function: package.module.Name"),
    ]
    """The dotted path of a class or of any other callable."""
    init_args: Annotated[dict[str, Any] | None, Allowed("a mapping of keyword arguments")] = None
    """The keyword arguments; a mapping of class_path and init_args among them is built first."""

    def plain(self) -> dict[str, Any]:
        """Return plain data for JSON, always with `init_args`."""
        return {"class_path": self.class_path, "init_args": self.init_args or {}}


StrategyName = Literal["drop", "valley", "slide", "minimum", "steepest"]
"""The rules that `harness.lr_range.strategies` has."""

DEFAULT_STRATEGY: StrategyName = "drop"
_STRATEGIES_ALLOWED = (
    f"one of {', '.join(get_args(StrategyName))}, or the class_path (and init_args) of a function "
    "of yours, or a list of these, of which the first decides"
)


def _as_strategies(value: object) -> tuple[object, ...]:
    """Return one strategy, or a list of them, as a tuple; refuse what is none."""
    items = value if isinstance(value, list | tuple) else (value,)
    strategies = tuple(map(_as_strategy, items))
    if not strategies:
        raise _no_strategy("an empty list is not allowed")
    repeated = [one for number, one in enumerate(strategies) if one in strategies[:number]]
    if repeated:
        one = repeated[0]
        raise _no_strategy(f"{one if isinstance(one, str) else one.class_path} stands there twice")
    return strategies


def _as_strategy(value: object) -> str | CallableSpec:
    if isinstance(value, CallableSpec):
        return value
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        try:
            return CallableSpec.model_validate(value)
        except ValidationError:
            # Each mapping with a class_path is checked as one, wherever it stands.
            return CallableSpec.model_construct(**value)
    known = value in get_args(StrategyName)
    if isinstance(value, str) and (known or isinstance(value, Unresolved)):
        return value
    shown = "a mapping without class_path" if isinstance(value, dict) else json.dumps(value)
    raise _no_strategy(f"{shown[:60]} is not allowed")


def _no_strategy(message: str) -> PydanticCustomError:
    text = f"{message}; {_STRATEGIES_ALLOWED}"
    return PydanticCustomError(CROSS_FIELD, "{message}", {"field": None, "message": text})


_STRATEGY_SCHEMA: list[dict[str, Any]] = [
    {"type": "string", "enum": list(get_args(StrategyName))},
    {
        "type": "object",
        "required": ["class_path"],
        "properties": {
            "class_path": {"type": "string", "pattern": CLASS_PATH},
            "init_args": {"type": ["object", "null"]},
        },
        "additionalProperties": False,
    },
]
Strategies = Annotated[
    tuple[str | CallableSpec, ...],
    BeforeValidator(_as_strategies),
    WithJsonSchema(
        {
            "anyOf": [
                *_STRATEGY_SCHEMA,
                {"type": "array", "minItems": 1, "items": {"anyOf": _STRATEGY_SCHEMA}},
            ]
        }
    ),
]
