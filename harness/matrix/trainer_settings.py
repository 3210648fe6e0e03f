"""Lists the Trainer's keywords that a matrix may set, and those it may not, with the reasons.

A probe obeys some of them. Others it only tells the workload.

The keywords are those of `lightning.pytorch.Trainer` 2.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from harness.matrix.callables import CallableSpec
from harness.matrix.field_types import (
    Allowed,
    Choice,
    Flag,
    Name,
    Positive,
    Settings,
    at_most,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LENGTH = "a probe ends after search.steps_per_trial steps, a trial after lr_range.horizon"
_FILES = "a probe leaves no files: gpu-profile writes the report, the plots and the logs"

REFUSED = {
    "accelerator": "the case's entry below gpus sets it",
    "num_nodes": "a case runs on one machine; devices is the number of its GPUs",
    "max_time": "search.probe_timeout bounds a probe's time",
    "limit_test_batches": "a probe does not test",
    "limit_predict_batches": "a probe does not predict",
    "overfit_batches": "a probe trains on the user's own data",
    "fast_dev_run": _LENGTH,
    "default_root_dir": _FILES,
    "barebones": "a probe is the user's real training",
    "profiler": "it would change the memory that is measured",
}
"""The Trainer's keywords that only a probe may set, each with the reason."""

ACCUMULATES = (
    "search.global_batch_size sets the accumulation, for each batch size another: remove this, or "
    "remove search.global_batch_size"
)
"""The mistake where a matrix sets the accumulation twice."""


def _not_zero(value: int) -> int:
    if value == 0:
        raise ValueError("0 is not allowed; a whole number from 1, or -1 for no limit")
    return value


_Count = Annotated[int, Field(strict=True, ge=0), Allowed("a whole number from 0")]
_Endless = Annotated[
    int,
    Field(strict=True, ge=-1),
    AfterValidator(_not_zero),
    Allowed("a whole number from 1, or -1 for no limit"),
]
_BATCHES = "a whole number of batches from 1, or a share above 0 and up to 1.0"


def _batches(value: object) -> object:
    if (type(value) is int and value >= 1) or (type(value) is float and 0 < value <= 1):
        return value
    raise PydanticCustomError("batches", _BATCHES)


_Batches = Annotated[
    int | float,
    BeforeValidator(_batches),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            ]
        }
    ),
    Allowed(_BATCHES),
]
_LOGGER = "true, false, a mapping with class_path and init_args, or a list of such mappings"


def _logger(value: object) -> object:
    # Here, because pydantic reports a mistake for each kind of a union.
    try:
        if isinstance(value, list):
            return [CallableSpec.model_validate(item) for item in value]
        return value if isinstance(value, bool) else CallableSpec.model_validate(value)
    except ValidationError:
        raise PydanticCustomError("logger", _LOGGER) from None


_Logger = Annotated[
    Flag | CallableSpec | list[CallableSpec], BeforeValidator(_logger), Allowed(_LOGGER)
]


ALONE = ("auto", "single_device")
"""The strategies of one device."""

_StrategyName = Literal[
    "auto",
    "single_device",
    "ddp",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
    "fsdp",
    "fsdp_cpu_offload",
    "deepspeed",
    "deepspeed_stage_1",
    "deepspeed_stage_1_offload",
    "deepspeed_stage_2",
    "deepspeed_stage_2_offload",
    "deepspeed_stage_3",
    "deepspeed_stage_3_offload",
]
_STRATEGIES_ALLOWED = (
    f"one of {', '.join(get_args(_StrategyName))}, or a mapping with class_path and init_args; those that "
    "start processes themselves (ddp_spawn, ddp_fork, ddp_notebook) cannot be used: each rank is a "
    "probe's process"
)


def _strategy(value: object) -> object:
    # Here, because pydantic reports a mistake for each kind of a union.
    if isinstance(value, str) and value in get_args(_StrategyName):
        return value
    try:
        return CallableSpec.model_validate(value)
    except ValidationError:
        raise PydanticCustomError("strategy", _STRATEGIES_ALLOWED) from None


_Strategy = Annotated[
    _StrategyName | CallableSpec,
    BeforeValidator(_strategy),
    Allowed(_STRATEGIES_ALLOWED),
]


class TrainerSettings(Settings):
    """Keywords of Lightning's Trainer; the others keep the Trainer's defaults."""

    devices: Annotated[
        int, Field(strict=True, ge=1), at_most(32), Allowed("a whole number from 1 to 32")
    ] = 1
    """GPUs of one kind in this machine, each with one rank of the training."""
    strategy: _Strategy = "auto"
    """How several ranks share the training; auto: ddp where there are several."""
    precision: Annotated[
        Literal[
            "32-true",
            "16-mixed",
            "bf16-mixed",
            "16-true",
            "bf16-true",
            "64-true",
            "transformer-engine",
            "transformer-engine-float16",
            "64",
            "32",
            "16",
            "bf16",
            64,
            32,
            16,
        ]
        | None,
        Allowed(
            "one of 32-true, 16-mixed, bf16-mixed, 16-true, bf16-true, 64-true, transformer-engine,"
            " transformer-engine-float16, or 64, 32, 16, bf16"
        ),
    ] = None
    """Numeric precision."""
    callbacks: Annotated[
        list[CallableSpec] | None, Allowed("a list of mappings with class_path and init_args")
    ] = None
    """Callbacks of the user's training; their memory counts."""
    plugins: Annotated[
        list[CallableSpec] | None, Allowed("a list of mappings with class_path and init_args")
    ] = None
    """Precision and other plugins."""
    accumulate_grad_batches: Annotated[
        Positive,
        Allowed(
            "a whole number from 1; for a schedule by epoch, add the callback "
            "GradientAccumulationScheduler to trainer.callbacks"
        ),
    ] = 1
    """Micro-batches per optimizer step."""
    gradient_clip_val: Annotated[
        float | None, Field(strict=True, ge=0, allow_inf_nan=False), Allowed("a number from 0")
    ] = None
    """The limit at which gradients are clipped."""
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    """norm: clip the norm of all gradients; value: clip each value."""
    deterministic: Annotated[Literal[True, False, "warn"] | None, Choice] = None
    """Whether only deterministic algorithms are used; warn: warn about others."""
    benchmark: Flag | None = None
    """torch.backends.cudnn.benchmark; it may choose other algorithms, and take more memory."""
    inference_mode: Flag = True
    """Whether validation runs in inference mode; false: it only runs without gradients."""
    use_distributed_sampler: Flag = True
    """Whether Lightning gives each rank other samples; without effect on one device."""
    detect_anomaly: Flag = False
    """Autograd's anomaly detection."""
    sync_batchnorm: Flag = False
    """Without effect on one device."""
    enable_autolog_hparams: Flag = True
    """Without effect in a probe, whose loggers discard everything."""
    model_registry: Name | None = None
    """Without effect in a probe, which writes no checkpoints."""
    max_epochs: _Endless | None = None
    """Told: the epochs of the training."""
    min_epochs: _Count | None = None
    """Told: the epochs before which nothing ends the training."""
    max_steps: _Endless | None = None
    """Told: the optimizer steps of the training."""
    min_steps: _Count | None = None
    """Told: the optimizer steps before which nothing ends the training."""
    limit_train_batches: _Batches | None = None
    """Told: the training batches of an epoch."""
    limit_val_batches: _Batches | None = None
    """Told: the batches of a validation."""
    val_check_interval: _Batches | None = None
    """Told: the training batches between two validations."""
    check_val_every_n_epoch: Positive | None = None
    """Told: the epochs between two validations."""
    num_sanity_val_steps: Annotated[
        int, Field(strict=True, ge=-1), Allowed("a whole number from 0, or -1 for all")
    ] = 2
    """Told: the batches of the validation before the training."""
    log_every_n_steps: _Count | None = None
    """Told: the steps between two entries in a log."""
    reload_dataloaders_every_n_epochs: _Count = 0
    """Told: the epochs after which loaders are made anew."""
    logger: _Logger | None = None
    """Told: stand-ins for these loggers discard everything; true: for Lightning's default."""
    enable_checkpointing: Flag = True
    """Told: whether there is a checkpoint callback; it saves nothing."""
    enable_progress_bar: Flag = True
    """Told: whether there is a progress bar; it shows nothing."""
    enable_model_summary: Flag = True
    """Without effect in a probe."""


def accepts(name: str, value: Any) -> bool:
    """Return whether a probe takes this keyword of a configuration with this value."""
    # How many ranks a case has is the matrix's to say, whatever a configuration asks for.
    if name not in TrainerSettings.model_fields or name == "devices":
        return False
    if name == "strategy":
        return value in ALONE
    try:
        TrainerSettings.model_validate({name: value})
    except ValidationError:
        return False
    return True


def other_accumulation(trainer: Mapping[str, Any]) -> Iterator[tuple[str | int, ...]]:
    """Yield the places in keywords of a Trainer that set an accumulation."""
    if trainer.get("accumulate_grad_batches", 1) != 1:
        yield ("accumulate_grad_batches",)
    for number, callback in enumerate(trainer.get("callbacks") or ()):
        if callback["class_path"].endswith(".GradientAccumulationScheduler"):
            yield ("callbacks", number)
