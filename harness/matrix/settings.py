"""The settings of a case, as the matrix names them: GPU, search, LR range test and bounds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from harness.global_batch.divisors import divisors, micro_batches
from harness.matrix.callables import DEFAULT_STRATEGY, Strategies
from harness.matrix.field_types import (
    LAYER,
    REAL,
    Allowed,
    Choice,
    Flag,
    MemoryFraction,
    Name,
    Percent,
    Positive,
    Settings,
    Size,
    Steps,
    at_most,
    distinct,
    no_flag,
)

# Trials are half a decade apart, and the range must have an end on each side. The product of two
# decimals may miss the whole number.
_LEAST_LR_RATIO = 10 * (1 - 1e-9)
# The last stage, in which further seeds confirm what one seed has found.
_ALL_STAGES = 3

Gain = Literal["note", "fail"]
"""What a run does about a value that is better than the locked one."""


class GpuSettings(Settings):
    """The device that a label of the axis `gpu` names."""

    accelerator: Literal["cuda", "cpu"] = "cuda"
    """A CUDA GPU, or the CPU with a memory budget."""
    name: Name | None = None
    """NVML's product name of the GPU, or a glob; required for a GPU."""
    memory: Size | None = None
    """Total memory, within 3%; it tells GPUs of one name apart."""
    budget: Size | None = None
    """Cap on the memory; required on the CPU; on a GPU it makes the case an emulated one."""

    @property
    def emulated(self) -> bool:
        """Whether the case runs under a budget, on the CPU or on a part of a GPU."""
        return self.accelerator == "cpu" or self.budget is not None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.accelerator == "cpu":
            for field in ("name", "memory"):
                if getattr(self, field) is not None:
                    raise self.broken("is for GPUs: remove it, or remove accelerator: cpu", field)
            if self.budget is None:
                raise self.broken("budget is missing; the CPU needs one, such as 512MiB")
        elif self.name is None:
            raise self.broken(
                "name is missing; NVML's product name, such as NVIDIA H200 (nvidia-smi -L lists it)"
            )
        elif self.memory is not None and self.budget is not None and self.budget > self.memory:
            raise self.broken("is more than memory; a budget is a part of the memory", "budget")
        return self


class SearchSettings(Settings):
    """The settings of the search for the largest batch that trains."""

    mode: Literal["exact", "power", "binsearch"] = "exact"
    """exact: predict from peaks, then bracket; power: double; binsearch: double, then bisect."""
    objective: Literal["memory", "throughput"] = "memory"
    """memory: the tuned batch is the largest; throughput: the smallest that is as fast as any."""
    init_val: Positive = 2
    """The first batch size that is tried when nothing is locked."""
    max_trials: Steps = 25
    """The search ends after this number of probes, with the best batch size it has."""
    steps_per_trial: Steps = 3
    """Effective optimizer steps of a probe."""
    min_batch_size: Positive = 1
    """The smallest batch size that is tried."""
    max_batch_size: Positive = 65536
    """The largest batch size that is tried."""
    target_memory_fraction: MemoryFraction = 0.9
    """Share of a GPU's memory, or of its budget, that training may reserve."""
    safety_factor: Annotated[
        float, REAL, Field(gt=0, le=1), Allowed("a number above 0 and up to 1")
    ] = 1.0
    """The tuned batch is the largest batch times this."""
    round_to: Positive = 1
    """The search tries multiples of this, and the tuned batch is rounded down to one."""
    global_batch_size: (
        Annotated[int, Field(strict=True, ge=1), at_most(1 << 30), Allowed("a whole number from 1")]
        | None
    ) = None
    """Samples of an optimizer step: batches that divide it are tried, and accumulated to it."""
    validation: Annotated[Literal[True, False, "search"], Choice] = True
    """Whether probes validate at the training batch; search: also find the validation batch."""
    inference: Annotated[
        tuple[Literal["validate", "test", "predict"], ...],
        AfterValidator(distinct),
        Allowed("a list of validate, test and predict, each at most once"),
    ] = ()
    """Functions of the Trainer whose largest batch is searched alone, without training's state."""
    validation_target_memory_fraction: MemoryFraction | None = None
    """As target_memory_fraction, for the validation batch; training's by default."""
    validation_min_batch_size: Positive | None = None
    """The smallest validation batch size that is tried; training's by default."""
    validation_max_batch_size: Positive | None = None
    """The largest validation batch size that is tried; twice training's by default."""
    validation_steps_per_trial: Steps | None = None
    """Validation batches of a probe; steps_per_trial by default."""
    allow_thrashing: Flag = True
    """Whether a batch fits although it thrashes: CUDA's cache is emptied again and again."""
    worst_batches: Flag = False
    """Whether probes train on the worst batches of the loader, in place of its first ones."""
    soak_steps: Annotated[
        int, Field(strict=True, ge=0), at_most(1_000_000), Allowed("a whole number from 0")
    ] = 0
    """Optimizer steps that the tuned batch must train for before it counts; 0: as in a probe."""
    probe_timeout: Annotated[
        float, REAL, Field(gt=0), at_most(1_000_000), Allowed("a number of seconds above 0")
    ] = 600.0
    """Seconds after which a probe is ended."""

    def tuned(self, max_batch_size: int) -> int:
        """Return the tuned batch: the largest batch times `safety_factor`, rounded down.

        The result is a multiple of `round_to`, unless it is smaller than `round_to`: rounding that
        down would leave nothing. With `global_batch_size` it divides that, and is not below
        `min_batch_size`.
        """
        # The tolerance makes 29 of 0.29 x 100, which falls just short of it as a float.
        tuned = int(max_batch_size * self.safety_factor + 1e-9)
        if self.global_batch_size is not None and max_batch_size:
            least = min(self.min_batch_size, max_batch_size)
            return max(self.micro_batches(least, max(least, tuned)), default=max_batch_size)
        if tuned >= self.round_to:
            tuned -= tuned % self.round_to
        return max(tuned, min(1, max_batch_size))

    def micro_batches(self, least: int, most: int) -> list[int]:
        """Return the batch sizes in a range that make `global_batch_size`, which must be set."""
        assert self.global_batch_size is not None
        return micro_batches(self.global_batch_size, least, most, self.round_to)

    def accumulation(self, batch_size: int) -> int | None:
        """Return the micro-batches that make `global_batch_size`; None where that is not set."""
        total = self.global_batch_size
        return None if total is None else -(-total // batch_size)

    @property
    def validation_fraction(self) -> float:
        """The share of the memory that validation may reserve."""
        own = self.validation_target_memory_fraction
        return self.target_memory_fraction if own is None else own

    @property
    def validation_minimum(self) -> int:
        """The smallest validation batch size that is tried."""
        return self.validation_min_batch_size or self.min_batch_size

    @property
    def validation_maximum(self) -> int:
        """The largest validation batch size that is tried."""
        return self.validation_max_batch_size or 2 * self.max_batch_size

    @property
    def validation_steps(self) -> int:
        """The number of validation batches in a probe."""
        return self.validation_steps_per_trial or self.steps_per_trial

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        if info.context == LAYER:
            return self
        if self.min_batch_size > self.max_batch_size:
            raise self.broken(
                f"{self.min_batch_size} is more than max_batch_size, {self.max_batch_size}",
                "min_batch_size",
            )
        self._check_global_batch()
        if self.validation_minimum > self.validation_maximum:
            raise self.broken(
                f"{self.validation_minimum} is more than the validation batch's maximum,"
                f" {self.validation_maximum}",
                "validation_min_batch_size",
            )
        return self

    def _check_global_batch(self) -> None:
        """Refuse a global batch that no batch of the search can make."""
        total, least, most = self.global_batch_size, self.min_batch_size, self.max_batch_size
        if total is None:
            return
        if total % self.round_to:
            raise self.broken(
                f"{self.round_to} does not divide global_batch_size, {total}, so that no multiple "
                "of it can make it: set one that does, or leave it out",
                "round_to",
            )
        if not self.micro_batches(least, most):
            below = max((one for one in divisors(total) if one < least), default=None)
            above = min((one for one in divisors(total) if one > most), default=None)
            near = " and ".join(str(one) for one in (below, above) if one is not None)
            raise self.broken(
                f"no divisor of {total} lies from min_batch_size, {least}, to max_batch_size, "
                f"{most}; the nearest: {near}",
                "global_batch_size",
            )


class LrRangeSettings(Settings):
    """The settings of the LR range test: a sweep, then trials at constant learning rates."""

    lr_min: Annotated[float, REAL, Field(gt=0), Allowed("a number above 0")] = 1e-6
    """The lowest learning rate of the range test."""
    lr_max: Annotated[float, REAL, Field(gt=0), at_most(1_000_000), Allowed("a number above 0")] = (
        10.0
    )
    """The highest learning rate of the range test."""
    num_training: Annotated[
        int, Field(strict=True, ge=20), at_most(100_000), Allowed("a whole number from 20")
    ] = 200
    """A budget: sweep and trials take at most this times the number of seeds of steps."""
    horizon: Annotated[
        int, Field(strict=True, ge=5), at_most(100_000), Allowed("a whole number from 5")
    ] = 30
    """Optimizer steps of a trial at a constant learning rate; longer ones follow if it is short."""
    seeds: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)], ...],
        Field(min_length=1, max_length=100),
        AfterValidator(distinct),
        Allowed("a list of different whole numbers from 0, at most 100, such as [0, 1, 2]"),
    ] = (0, 1, 2)
    """Seeds of the initialisation and the order of the data; one by one, until they agree."""
    when: Literal["always", "changed", "never"] = "always"
    """changed: keep the locked learning rate while nothing that it depends on has changed."""
    max_seconds: Annotated[
        float | None, REAL, Field(gt=0), at_most(1_000_000), Allowed("a number of seconds above 0")
    ] = None
    """The range test ends after this time; seeds that are done count; null: no limit."""
    plot_path: Name | None = None
    """The path of the plot; by default it is in the folder of the run's results."""
    strategy: Strategies = (DEFAULT_STRATEGY,)
    """The rule that decides: a name, a class_path with init_args, or a list whose first decides."""
    stages: Annotated[Literal[1, 2, 3], BeforeValidator(no_flag)] = 3
    """1: one sweep; 2: trials of one seed measure the range, too; 3: further seeds confirm."""

    @property
    def decides_by_sweeps(self) -> bool:
        """Whether the learning rate is read off sweeps; else it is the middle of trials."""
        return self.stages == 1 or self.strategy[0] != DEFAULT_STRATEGY

    @property
    def tried_seeds(self) -> tuple[int, ...]:
        """The seeds that may be tried."""
        return self.seeds if self.stages == _ALL_STAGES else self.seeds[:1]

    @property
    def max_steps(self) -> int:
        """The most optimizer steps, without those of new seeds before a failure."""
        trials = 0 if self.stages == 1 else self.num_training * len(self.seeds)
        return trials + self.num_training * self.sweeps

    @property
    def sweeps(self) -> int:
        """The most sweeps of `num_training` steps; trials alone need none of them."""
        return len(self.tried_seeds) if self.decides_by_sweeps else int(len(self.strategy) > 1)

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        if self.lr_max < _LEAST_LR_RATIO * self.lr_min and info.context != LAYER:
            raise self.broken(
                f"{self.lr_min} is above a tenth of lr_max, {self.lr_max}: trials are half a decade"
                " apart, and the range needs an end on both sides",
                "lr_min",
            )
        return self


class WorkersSettings(Settings):
    """The search for the workers of the training loader."""

    max: (
        Annotated[
            int, Field(strict=True, ge=1), at_most(1024), Allowed("a whole number from 1 to 1024")
        ]
        | None
    ) = None
    """The largest number of workers that is tried; null: none is, and nothing is locked."""


class BatchSizeBound(Settings):
    """How far the largest batch may fall behind the locked one."""

    max_drop: Annotated[Percent, Field(lt=1), Allowed("a percentage from 0% to below 100%")] = 0.02
    """A percentage or a fraction; the bound is never tighter than measured noise."""


class LearningRateBound(Settings):
    """How far the learning rate may be from the locked one: by default within its locked range."""

    max_factor: Annotated[float | None, REAL, Field(ge=1), Allowed("a number from 1")] = None
    """A factor, up or down, in place of the locked range; null: the locked range."""


class ThroughputBound(Settings):
    """How far samples/s at the tuned batch may fall behind the locked ones."""

    max_drop: Annotated[
        Percent | None, Field(lt=1), Allowed("a percentage from 0% to below 100%")
    ] = None
    """A percentage or a fraction, beyond the noise of both; null: speeds are not judged."""


class BoundsSettings(Settings):
    """How far a measurement may be from its locked profile before the test fails."""

    batch_size: BatchSizeBound = BatchSizeBound()
    """The bound on max_batch_size."""
    learning_rate: LearningRateBound = LearningRateBound()
    """The bound on the learning rate; it applies at the same batch size and recipe only."""
    throughput: ThroughputBound = ThroughputBound()
    """The bound on samples/s at the tuned batch; it applies at the same batch size only."""
    gain: Gain = "note"
    """What a gain beyond the bounds does: `note` tells it, `fail` fails until it is locked."""
