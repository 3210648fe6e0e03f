"""Makes the Trainer of a probe: the user's own, apart from what would disturb a probe.

It writes no files, and no callback of Lightning ends the training early or changes what is
measured.
"""

from __future__ import annotations

import importlib
import random
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.failures.out_of_memory import device_memory
from harness.workload import attributes
from harness.workload.build import arguments
from harness.workload.train_loaders import replace_train_loader

if TYPE_CHECKING:
    from harness.failures.out_of_memory import DeviceMemory
    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.workload.build import Workload

# Lightning's callbacks that end a training, save it, or search for the values that a probe sets.
_UNSUITED_CALLBACKS = ("Checkpoint", "EarlyStopping", "BatchSizeFinder", "LearningRateFinder")


class FitWatch:
    """Hooks that every probe needs: drops unsuited callbacks and keeps the first exception.

    `make_callback` mixes it into the `Callback` of the workload's own Lightning package.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.memory: DeviceMemory | None = None

    def setup(self, trainer: Any, _module: Any, stage: str) -> None:
        """Drop unsuited callbacks; by now the module's `configure_callbacks` has added its own."""
        del stage
        trainer.callbacks = suited(trainer.callbacks)

    def on_exception(self, _trainer: Any, _module: Any, exception: BaseException) -> None:
        """Keep the first exception and the device's memory at that time.

        Lightning's own teardown may raise another exception.
        """
        if self.error is None:
            self.error = exception
            self.memory = device_memory()


def loss_of(outputs: Any) -> Any:
    """Return the loss from the output of a training step; None for a batch that it skipped."""
    return outputs.get("loss") if isinstance(outputs, Mapping) else outputs


def make_callback(lightning: Any, watch_class: type, *arguments: Any) -> Any:
    """Make a callback of the workload's Lightning package from a plain class of hooks."""
    return type(watch_class.__name__, (watch_class, lightning.Callback), {})(*arguments)


def make_trainer(
    workload: Workload, bound: MemoryBound, settings: Mapping[str, Any], **forced: Any
) -> Any:
    """Make a Trainer of the workload's Lightning package from the user's and the probe's settings.

    forced: the probe's settings, among them its `callbacks`.
    """
    chosen = arguments(settings)
    callbacks = [*suited(chosen.pop("callbacks", None) or []), *forced.pop("callbacks")]
    directory = tempfile.gettempdir()  # the zygote's own, removed at its end
    return workload.lightning.Trainer(
        **chosen,
        **bound.trainer_arguments,
        # A single, endless epoch gives schedulers a finite number of steps to compute with.
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
    """Return the callbacks that suit a probe: all but Lightning's that stop, save or tune."""
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
    """Make a logger that discards everything: modules and callbacks may rely on a logger."""
    dummy = importlib.import_module(f"{lightning.__name__}.loggers.logger").DummyLogger
    return type("NoLogger", (dummy,), {"save_dir": directory})()


def seed_everything(seed: int = 0) -> None:
    """Seed Python's, NumPy's and torch's generators of this process."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the user's transforms may use the global generator
    torch.manual_seed(seed)


def prepare(workload: Workload, batch_size: int, *, worst_case: bool = True) -> None:
    """Set the batch size, and make the training loader endless.

    worst_case: train on the workload's `worst_case_batch`, if it has one, instead of its batches.
    """
    attributes.set_batch_size(
        workload.module, workload.datamodule, batch_size, attr=workload.spec["batch_size_attr"]
    )
    replace_train_loader(
        workload.loader_owner, batch_size, workload.worst_case_batch if worst_case else None
    )
