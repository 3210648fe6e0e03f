"""Describes a transformers.Trainer: its class, its arguments, its data and its loader."""

from __future__ import annotations

import dataclasses
import enum
import sys
from typing import TYPE_CHECKING, Any

from harness.identity.fingerprint import class_path, describe_data
from harness.probe_trainer.transformers_loaders import samples_of

if TYPE_CHECKING:
    from harness.case_names import Scalar

# Of TrainingArguments, what changes the memory of a step or what it learns. A rate and its schedule
# are measured, sizes are searched, and the rest is told, shown, saved or reported.
_MATTER = (
    "activation_checkpointing_kwargs",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "batch_eval_metrics",
    "bf16",
    "bf16_full_eval",
    "deepspeed",
    "eval_accumulation_steps",
    "eval_do_concat_batches",
    "fp16",
    "fp16_full_eval",
    "fsdp",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "gradient_checkpointing_kwargs",
    "group_by_length",
    "include_for_metrics",
    "label_names",
    "label_smoothing_factor",
    "max_grad_norm",
    "neftune_noise_alpha",
    "optim",
    "optim_args",
    "optim_target_modules",
    "per_device_eval_batch_size",
    "prediction_loss_only",
    "remove_unused_columns",
    "tf32",
    "torch_compile",
    "torch_compile_backend",
    "torch_compile_mode",
    "torch_empty_cache_steps",
    "train_sampling_strategy",
    "use_liger_kernel",
    "weight_decay",
)
_PLAIN = (bool, int, float, str)


def describe_trainer(trainer: Any) -> tuple[dict[str, Scalar], int | None, int]:
    """Return the facts of a Trainer, the samples in a pass over its data, and its workers.

    The samples are None where they are not known.
    """
    facts = describe_data(trainer.train_dataset) | {"trainer": _settings(trainer)}
    try:
        samples = samples_of(trainer)
    except Exception:  # noqa: BLE001 - it may refuse this batch size; the probes will tell
        samples = None
    return facts, samples, trainer.args.dataloader_num_workers


def _settings(trainer: Any) -> str:
    """Return the class of a Trainer with the arguments that matter, where they are not default."""
    args = trainer.args
    base = {one.name: one for one in dataclasses.fields(_base())}
    own = [one for one in dataclasses.fields(args) if one.name in _MATTER or one.name not in base]
    given = {one.name: getattr(args, one.name) for one in own if not _is_default(args, one)}
    shown = ", ".join(f"{name}={_shown(given[name])}" for name in sorted(given))
    return f"{class_path(trainer)}({shown})"


def _base() -> Any:
    return sys.modules["transformers.training_args"].TrainingArguments


def _is_default(args: Any, field: dataclasses.Field[Any]) -> bool:
    value = getattr(args, field.name)
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    # Their own checks replace None by what is off.
    return bool(_shown(value) == _shown(default)) or (default is None and not value)


def _shown(value: Any) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, _PLAIN):
        return str(value)
    if isinstance(value, dict):
        pairs = ", ".join(f"{key}: {_shown(value[key])}" for key in sorted(value, key=str))
        return f"{{{pairs}}}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(sorted(map(_shown, value)))}]"
    return class_path(value)
