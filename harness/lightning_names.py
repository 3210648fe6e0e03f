"""Names of Lightning's that several processes know: hooks, and keywords of the Trainer."""

from __future__ import annotations

from typing import Literal

Hook = Literal[
    "prepare_data",
    "configure_callbacks",
    "configure_model",
    "configure_optimizers",
    "train_dataloader",
    "val_dataloader",
    "on_fit_start",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "configure_gradient_clipping",
    "lr_scheduler_step",
    "on_train_batch_end",
    "on_validation_model_zero_grad",
    "on_validation_model_eval",
    "on_validation_model_train",
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
    "on_fit_end",
    "teardown",
]
"""The hooks of Lightning's that an error may come up in, apart from those that are phases."""

TOLD = frozenset(
    {
        "max_epochs",
        "min_epochs",
        "max_steps",
        "min_steps",
        "limit_train_batches",
        "limit_val_batches",
        "val_check_interval",
        "check_val_every_n_epoch",
        "num_sanity_val_steps",
        "log_every_n_steps",
        "reload_dataloaders_every_n_epochs",
        "logger",
        "enable_checkpointing",
        "enable_progress_bar",
        "enable_model_summary",
    }
)
"""The Trainer's keywords that a probe does not obey: the workload reads them, for schedules and the
like, and another value leaves a lock valid.
"""
