"""Types of the matrix's fields, strict about YAML's types, and the base of all its models.

A field's `Allowed` says in a mistake's message what the field allows. Booleans and choices need
none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from harness.units import PERCENT_FORM, SIZE_FORM, parse_percent, parse_size

_ValueT = TypeVar("_ValueT")

CROSS_FIELD = "cross_field"
"""pydantic's error type for a broken rule between fields; its context names the `field`."""

LAYER = {"layer": True}
"""The validation context of settings that others will override, so no rule between fields holds."""

CLASS_PATH = r"^[^\W\d]\w*(\.[^\W\d]\w*)+$"
"""The pattern of a class path: two names or more with dots between them."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a field allows, in words that follow "is not allowed; "."""

    words: str


def _no_number(value: object) -> object:
    # Python has 1 == True, so a Literal alone would accept 1 for true, and keep it as 1.
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise PydanticCustomError("no_number", "a number")
    return value


def no_flag(value: object) -> object:
    """Refuse true and false, which Python counts as 1 and 0."""
    if isinstance(value, (bool, float)):
        raise PydanticCustomError("no_flag", "no whole number")
    return value


def distinct(values: tuple[_ValueT, ...]) -> tuple[_ValueT, ...]:
    """Refuse repeated values."""
    if len(set(values)) < len(values):
        raise PydanticCustomError("repeated", "repeated values")
    return values


def at_most(largest: int) -> AfterValidator:
    """Return a validator that refuses larger numbers.

    They would overflow later arithmetic, a time-out or a list.
    """

    def check(value: float) -> float:
        if value > largest:
            raise ValueError(f"{value} is not allowed; at most {largest:,}")
        return value

    return AfterValidator(check)


_SIZE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s?([kMGT]|[KMGT]i)?B\s*$"},
    ]
}
_PERCENT_SCHEMA = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s?%\s*$"},
    ]
}

Flag = Annotated[bool, Field(strict=True)]
Choice = BeforeValidator(_no_number)
Name = Annotated[str, Field(min_length=1), Allowed("a string that is not empty")]
Positive = Annotated[
    int, Field(strict=True, ge=1), at_most(2**63 - 1), Allowed("a whole number from 1")
]
Steps = Annotated[int, Field(strict=True, ge=1), at_most(10_000), Allowed("a whole number from 1")]
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA), Allowed(SIZE_FORM)]
Percent = Annotated[
    float, BeforeValidator(parse_percent), WithJsonSchema(_PERCENT_SCHEMA), Allowed(PERCENT_FORM)
]
MemoryFraction = Annotated[
    float,
    BeforeValidator(parse_percent),
    Field(gt=0, le=0.98),
    WithJsonSchema(_PERCENT_SCHEMA),
    Allowed("a fraction above 0 and up to 0.98, such as 0.9 or 90%"),
]
REAL = Field(strict=True, allow_inf_nan=False)
DottedName = Annotated[
    str,
    Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$"),
    Allowed("an attribute's name, such as batch_size or config.batch_size"),
]


class Settings(BaseModel):
    """The base of all settings: they never change, and an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def broken(self, message: str, field: str | None = None) -> PydanticCustomError:
        """Return the error for a broken rule between fields, to be shown at `field`."""
        return PydanticCustomError(CROSS_FIELD, "{message}", {"field": field, "message": message})
