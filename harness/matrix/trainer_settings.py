"""Lists the Trainer's keywords that a matrix may set, and those it may not, with the reasons.

The keywords are those of `lightning.pytorch.Trainer` 2.6.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.matrix.field_types import Allowed, Choice, Flag, Name, Positive, Settings
from harness.matrix.settings import CallableSpec  # noqa: TC001 - pydantic evaluates annotations

_LENGTH = "a probe ends after search.steps_per_trial steps, a sweep after lr_range.num_training"
_VALIDATION = "a probe runs the validation that search.validation asks for"
_FILES = "a probe leaves no files: gpu-profile writes the report, the plots and the logs"
_PROGRESS = "gpu-profile shows the progress of the search"

REFUSED = {
    "accelerator": "the case's entry below gpus sets it",
    "devices": "a case is one device, the one below gpus",
    "num_nodes": "a case is one device, on one node",
    "max_epochs": _LENGTH,
    "min_epochs": _LENGTH,
    "max_steps": _LENGTH,
    "min_steps": _LENGTH,
    "max_time": "search.probe_timeout bounds a probe's time",
    "limit_train_batches": _LENGTH,
    "limit_val_batches": _VALIDATION,
    "limit_test_batches": "a probe does not test",
    "limit_predict_batches": "a probe does not predict",
    "overfit_batches": "a probe trains on the user's own data",
    "fast_dev_run": _LENGTH,
    "val_check_interval": _VALIDATION,
    "check_val_every_n_epoch": _VALIDATION,
    "num_sanity_val_steps": _VALIDATION,
    "logger": _FILES,
    "enable_checkpointing": _FILES,
    "enable_progress_bar": _PROGRESS,
    "enable_model_summary": _PROGRESS,
    "default_root_dir": _FILES,
    "barebones": "a probe is the user's real training",
    "profiler": "it would change the memory that is measured",
    "log_every_n_steps": _FILES,
    "reload_dataloaders_every_n_epochs": "a probe makes the loader of its batch size itself",
}
"""The Trainer's keywords that only a probe may set, each with the reason."""


class TrainerSettings(Settings):
    """Keywords of Lightning's Trainer; the others keep the Trainer's defaults."""

    strategy: Annotated[
        Literal["auto", "single_device"],
        Allowed(
            "auto or single_device: a case is one device, so ddp, fsdp and deepspeed cannot be used"
        ),
    ] = "auto"
    """The strategy; a case is one device."""
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
    accumulate_grad_batches: Positive = 1
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
    """Without effect on one device."""
    detect_anomaly: Flag = False
    """Autograd's anomaly detection."""
    sync_batchnorm: Flag = False
    """Without effect on one device."""
    enable_autolog_hparams: Flag = True
    """Without effect in a probe, which has no logger."""
    model_registry: Name | None = None
    """Without effect in a probe, which writes no checkpoints."""
