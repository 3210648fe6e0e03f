"""The Trainer of a probe: the user's, less what writes files, ends the training, or moves what is measured."""

from __future__ import annotations

import importlib
import random
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.out_of_memory import device_memory
from harness.workload import arguments

if TYPE_CHECKING:
    from harness.devices import MemoryBound
    from harness.out_of_memory import DeviceMemory
    from harness.workload import Workload

# Lightning's callbacks that end a training, write it down, or look for the very values that a probe is given.
_UNSUITED_CALLBACKS = ("Checkpoint", "EarlyStopping", "BatchSizeFinder", "LearningRateFinder")


class Watch:
    """What the watches of a probe and of a sweep share.

    Mixed into the `Callback` of the workload's own Lightning package by `make_callback`.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.memory: DeviceMemory | None = None

    def setup(self, trainer: Any, _module: Any, stage: str) -> None:
        """Drop callbacks: here, because the module's own `configure_callbacks` has been asked by now."""
        del stage
        trainer.callbacks = suited(trainer.callbacks)

    def on_exception(self, _trainer: Any, _module: Any, exception: BaseException) -> None:
        """Keep the first exception, for Lightning's own teardown may raise another, and how its memory was."""
        if self.error is None:
            self.error = exception
            self.memory = device_memory()


def loss_of(outputs: Any) -> Any:
    """Return the loss in what a training step gave; None for a batch that it skipped."""
    return outputs.get("loss") if isinstance(outputs, Mapping) else outputs


def make_callback(lightning: Any, watch_class: type, *arguments: Any) -> Any:
    """Make a callback of the workload's Lightning package from a plain class of hooks."""
    return type(watch_class.__name__, (watch_class, lightning.Callback), {})(*arguments)


def make_trainer(workload: Workload, bound: MemoryBound, settings: Mapping[str, Any], **forced: Any) -> Any:
    """Make the Trainer of the module's own package with the user's settings and those the probe sets."""
    chosen = arguments(settings)
    callbacks = [*suited(chosen.pop("callbacks", None) or []), *forced.pop("callbacks")]
    directory = tempfile.gettempdir()  # the zygote's own, which goes with it
    return workload.lightning.Trainer(
        **chosen,
        **bound.trainer_arguments,
        # One endless epoch: schedulers that ask for the number of steps get a finite answer.
        max_epochs=1,
        num_sanity_val_steps=0,
        logger=_make_logger(workload.lightning, directory),
        default_root_dir=directory,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **forced,
    )


def suited(callbacks: list[Any]) -> list[Any]:
    """Leave out Lightning's callbacks that have no place in a probe: checkpoints, early stopping, its Tuner's."""
    packages = ("lightning.pytorch.", "pytorch_lightning.")
    return [
        callback
        for callback in callbacks
        if not any(
            base.__name__ in _UNSUITED_CALLBACKS and base.__module__.startswith(packages)
            for base in type(callback).__mro__
        )
    ]


def _make_logger(lightning: Any, directory: str) -> Any:
    """Make a logger that takes everything and keeps nothing: modules and callbacks may count on there being one."""
    dummy = importlib.import_module(f"{lightning.__name__}.loggers.logger").DummyLogger
    return type("NoLogger", (dummy,), {"save_dir": directory})()


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators of this process."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the user's transforms may use the global generator
    torch.manual_seed(seed)
