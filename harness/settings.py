"""The settings of a case as the matrix spells them: frozen, unknown keys refused, YAML's types kept apart.

A field's `Allowed` holds the words with which a mistake in it is answered; booleans and choices need none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from harness.units import PERCENT_FORM, SIZE_FORM, parse_percent, parse_size

CROSS_FIELD = "cross_field"
"""pydantic's error type for a rule that several fields break together; its context names the `field`."""

LAYER = {"layer": True}
"""Validation context of settings that others will override: rules between their fields do not hold yet."""

CLASS_PATH = r"^[^\W\d]\w*(\.[^\W\d]\w*)+$"
"""Two names or more, dotted."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a field takes, in words that follow "is not allowed; "."""

    words: str


def _no_number(value: object) -> object:
    # 1 == True, so that a Literal alone would take it, and hand on 1.
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise PydanticCustomError("no_number", "a number")
    return value


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("repeated", "repeated values")
    return values


def _at_most(largest: int) -> AfterValidator:
    """Bound what later arithmetic, a time-out or a list would overflow on."""

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
Positive = Annotated[int, Field(strict=True, ge=1), _at_most(2**63 - 1), Allowed("a whole number from 1")]
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
_REAL = Field(strict=True, allow_inf_nan=False)
DottedName = Annotated[
    str,
    Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$"),
    Allowed("an attribute's name, dotted below objects: config.batch_size"),
]


class Settings(BaseModel):
    """The base of all settings: they never change, and a key that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def _broken(self, message: str, field: str | None = None) -> PydanticCustomError:
        """Return the error of a rule between fields, to be shown at `field`."""
        return PydanticCustomError(CROSS_FIELD, "{message}", {"field": field, "message": message})


class CallableSpec(Settings):
    """Something to call, in LightningCLI's convention: `class_path` with the keyword arguments `init_args`."""

    class_path: Annotated[
        str,
        Field(pattern=CLASS_PATH),
        Allowed("the dotted path of a class or function: package.module.Name"),
    ]
    """Dotted path of a class or of any other callable."""
    init_args: Annotated[dict[str, Any] | None, Allowed("a mapping of keyword arguments")] = None
    """Keyword arguments; a mapping of class_path and init_args among them is built first."""

    def plain(self) -> dict[str, Any]:
        """Return plain data for JSON, `init_args` always there."""
        return {"class_path": self.class_path, "init_args": self.init_args or {}}


class GpuSettings(Settings):
    """Which device a label of the axis `gpu` stands for."""

    accelerator: Literal["cuda", "cpu"] = "cuda"
    """A CUDA GPU, or the CPU with a bounded memory budget."""
    name: Name | None = None
    """NVML's product name of the GPU; a glob."""
    memory: Size | None = None
    """Total memory, within 3%, to tell GPUs of one name apart."""
    budget: Size | None = None
    """Cap on the memory; on a GPU it makes the case an emulated one, on the CPU it is required."""

    @property
    def emulated(self) -> bool:
        """Whether the case does not run on the whole of a real GPU."""
        return self.accelerator == "cpu" or self.budget is not None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.accelerator == "cpu":
            for field in ("name", "memory"):
                if getattr(self, field) is not None:
                    raise self._broken("is for GPUs: remove it, or remove accelerator: cpu", field)
            if self.budget is None:
                raise self._broken("budget is missing; the CPU needs one, such as 512MiB")
        elif self.name is None:
            raise self._broken(
                "name is missing; NVML's product name, such as NVIDIA H200 (nvidia-smi -L lists it)"
            )
        elif self.memory is not None and self.budget is not None and self.budget > self.memory:
            raise self._broken("is more than memory; a budget is a part of the memory", "budget")
        return self


class SearchSettings(Settings):
    """How the largest batch that trains is looked for."""

    mode: Literal["exact", "power", "binsearch"] = "exact"
    """Secant on peak memory, then bracket; doubling; doubling, then bisection."""
    init_val: Positive = 2
    """The first batch size without a lock."""
    max_trials: Positive = 25
    """Probes after which the search ends with the best it has."""
    steps_per_trial: Positive = 3
    """Effective optimizer steps of a probe."""
    min_batch_size: Positive = 1
    """The smallest batch that is tried."""
    max_batch_size: Positive = 65536
    """The largest batch that is tried."""
    target_memory_fraction: MemoryFraction = 0.9
    """Share of the GPU's memory, or of the budget, that training may reserve."""
    safety_factor: Annotated[float, _REAL, Field(gt=0, le=1), Allowed("a number above 0 and up to 1")] = 1.0
    """The tuned batch is the largest one times this."""
    round_to: Positive = 1
    """The tuned batch is rounded down to a multiple of this."""
    validation: Annotated[Literal[True, False, "search"], Choice] = True
    """Whether probes validate at the training batch; `search` also looks for the validation batch."""
    validation_target_memory_fraction: MemoryFraction | None = None
    """As target_memory_fraction, for the validation batch; training's by default."""
    validation_min_batch_size: Positive | None = None
    """As min_batch_size; training's by default."""
    validation_max_batch_size: Positive | None = None
    """As max_batch_size; twice training's by default."""
    validation_steps_per_trial: Positive | None = None
    """Validation batches of a probe; steps_per_trial by default."""
    allow_thrashing: Flag = True
    """Whether a batch counts that trains only because the allocator empties its cache again and again (CUDA)."""
    soak_steps: Annotated[
        int, Field(strict=True, ge=0), _at_most(1_000_000), Allowed("a whole number from 0")
    ] = 0
    """Optimizer steps that the tuned batch has to last before it counts; 0: no more than a probe's."""
    probe_timeout: Annotated[
        float, _REAL, Field(gt=0), _at_most(1_000_000), Allowed("a number of seconds above 0")
    ] = 600.0
    """Seconds after which a probe is ended."""

    @property
    def validation_fraction(self) -> float:
        """Share of the memory that validation may reserve."""
        own = self.validation_target_memory_fraction
        return self.target_memory_fraction if own is None else own

    @property
    def validation_minimum(self) -> int:
        """The smallest validation batch that is tried."""
        return self.validation_min_batch_size or self.min_batch_size

    @property
    def validation_maximum(self) -> int:
        """The largest validation batch that is tried."""
        return self.validation_max_batch_size or 2 * self.max_batch_size

    @property
    def validation_steps(self) -> int:
        """Validation batches of a probe."""
        return self.validation_steps_per_trial or self.steps_per_trial

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        if info.context == LAYER:
            return self
        if self.min_batch_size > self.max_batch_size:
            raise self._broken(
                f"{self.min_batch_size} is more than max_batch_size, {self.max_batch_size}", "min_batch_size"
            )
        if self.validation_minimum > self.validation_maximum:
            raise self._broken(
                f"{self.validation_minimum} is more than the validation batch's maximum,"
                f" {self.validation_maximum}",
                "validation_min_batch_size",
            )
        return self


class LrRangeSettings(Settings):
    """The LR range test: one exponential sweep of the learning rate per seed."""

    lr_min: Annotated[float, _REAL, Field(gt=0), Allowed("a number above 0")] = 1e-6
    """Where a sweep starts."""
    lr_max: Annotated[float, _REAL, Field(gt=0), Allowed("a number above 0")] = 10.0
    """Where a sweep ends."""
    num_training: Annotated[
        int, Field(strict=True, ge=20), _at_most(100_000), Allowed("a whole number from 20")
    ] = 200
    """Optimizer steps of a sweep."""
    seeds: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)], ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Allowed("a list of different whole numbers from 0, such as [0, 1, 2]"),
    ] = (0, 1, 2)
    """Seeds of initialisation and data order."""
    when: Literal["always", "changed", "never"] = "always"
    """`changed` keeps the locked learning rate while nothing it depends on has changed."""
    plot_path: Name | None = None
    """Where the plot goes; by default into the folder of the run's results."""

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        if self.lr_min >= self.lr_max and info.context != LAYER:
            raise self._broken(f"{self.lr_min} is not below lr_max, {self.lr_max}", "lr_min")
        return self


class BatchSizeBound(Settings):
    """How far the largest batch may fall behind the locked one."""

    max_drop: Annotated[Percent, Field(lt=1), Allowed("a percentage from 0% to below 100%")] = 0.02
    """As a percentage or fraction; never tighter than measured noise."""


class LearningRateBound(Settings):
    """How far the learning rate may be from the locked one."""

    max_factor: Annotated[float, _REAL, Field(ge=1), Allowed("a number from 1")] = 2.0
    """As a factor, up or down."""


class BoundsSettings(Settings):
    """How far a measurement may fall behind its locked profile before the test fails."""

    batch_size: BatchSizeBound = BatchSizeBound()
    """Judges max_batch_size."""
    learning_rate: LearningRateBound = LearningRateBound()
    """Judges the learning rate, at the same batch size and recipe only."""
