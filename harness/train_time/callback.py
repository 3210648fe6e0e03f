"""Makes a callback of Lightning's that applies a locked profile when a training is set up.

Imports nothing of Lightning but the package that the caller has imported.
"""

from __future__ import annotations

import inspect
import logging
import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.train_time.apply import apply
from harness.workload import attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning.pytorch import Callback

    from harness.lockfile.profiles import LockedProfile

_log = logging.getLogger("harness")
_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
# Not those of the module's own hparams: some loggers take a key once, and Lightning logs those.
_LOGGED = "gpu_profile"


def profile_callback(
    profile: LockedProfile,
    *,
    learning_rate: bool = True,
    batch_size_attr: str | None = None,
    learning_rate_attr: str | None = None,
) -> Callback:
    """Return a callback that applies the profile in `setup` of a fit, as `harness.apply` does.

    The Trainer then makes its loaders and optimizers with the locked values. Batch size and
    learning rate, the case and its device go to the loggers, as hyperparameters below
    `gpu_profile`, and to the logger `harness`.

    The profile is never applied to a training that resumes from a checkpoint (`ckpt_path`). If the
    callback was there when it began, the values of then are set again, from the checkpoint, also
    where the lock has changed since. Validating, testing and predicting are left as they are, and
    so are the probes of `pytest --gpu-profile`, which set values of their own.

    The callback is one of the Lightning package that was imported before the call:
    `lightning.pytorch`, `pytorch_lightning`, or both. The arguments are those of `apply`, and so
    are the errors; they are raised by `trainer.fit`.
    """
    hooks = _callback_class()(
        profile,
        {
            "learning_rate": learning_rate,
            "batch_size_attr": batch_size_attr,
            "learning_rate_attr": learning_rate_attr,
        },
    )
    made: Callback = hooks
    return made


class _Hooks:
    """The hooks of the callback; mixed into `Callback` of the caller's Lightning package."""

    state_key: str

    def __init__(self, profile: LockedProfile, arguments: Mapping[str, Any]) -> None:
        self.profile = profile
        self.arguments = arguments
        self.applied: dict[str, Any] = {}
        """What the training began with; a checkpoint keeps it."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Apply the profile before the Trainer asks for loaders and optimizers."""
        # A probe's Trainer sets the batch size and the rate that it tries.
        if stage != "fit" or hasattr(trainer, "probe_val_batches"):
            return
        checkpoint = _checkpoint_of(trainer)
        if checkpoint is not None:
            _log.info(
                "%s is not applied: the training resumes from %s, with the values it began with",
                self.profile.case_id,
                checkpoint,
            )
            return
        apply(self.profile, pl_module, trainer.datamodule, trainer=trainer, **self.arguments)
        self.applied = _values(self.profile, trainer, learning_rate=self.arguments["learning_rate"])
        self._tell(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the values that the training began with."""
        return self.applied

    def on_load_checkpoint(
        self, trainer: Any, pl_module: Any, checkpoint: Mapping[str, Any]
    ) -> None:
        """Set the values that the checkpoint's training began with; without them, set nothing."""
        kept = checkpoint["callbacks"].get(self.state_key)
        if not kept:
            return
        self.applied = dict(kept)
        places = pl_module, trainer.datamodule
        size_attr, rate_attr = (f"{name}_attr" for name in ("batch_size", "learning_rate"))
        attributes.set_batch_size(*places, kept["batch_size"], attr=self.arguments[size_attr])
        if "learning_rate" in kept:
            attributes.set_learning_rate(
                *places, kept["learning_rate"], attr=self.arguments[rate_attr]
            )
        if "accumulate_grad_batches" in kept:
            trainer.accumulate_grad_batches = kept["accumulate_grad_batches"]
        if "validation_batch_size" in kept:
            owner = pl_module if trainer.datamodule is None else trainer.datamodule
            attributes.set_validation_batch_size(owner, kept["validation_batch_size"])
        self._tell(trainer)

    def _tell(self, trainer: Any) -> None:
        if not trainer.is_global_zero:
            return
        shown = ", ".join(f"{name} {value}" for name, value in self.applied.items())
        _log.info("training with %s", shown)
        for logger in trainer.loggers:
            logger.log_hyperparams(
                {f"{_LOGGED}/{name}": value for name, value in self.applied.items()}
            )


def _checkpoint_of(trainer: Any) -> Any:
    """Return the checkpoint that a Trainer is about to resume from, None for a new training.

    Lightning sets `trainer.ckpt_path` only behind `setup`. Until then the path is an argument of
    the Trainer's own call, where "last", "hpc" and what SLURM left are already found.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "_run" and frame.f_locals.get("self") is trainer:
            return frame.f_locals.get("ckpt_path")
        frame = frame.f_back
    return trainer.ckpt_path


def _values(profile: LockedProfile, trainer: Any, *, learning_rate: bool) -> dict[str, Any]:
    """Return what was applied, and where it came from."""
    values: dict[str, Any] = {"case": profile.case_id, "batch_size": profile.batch_size}
    if profile.global_batch_size is not None:
        step = profile.accumulation(num_ranks=trainer.world_size)
        values |= {**step._asdict(), "global_batch_size": profile.global_batch_size}
    if learning_rate:
        values["learning_rate"] = profile.learning_rate
    if profile.validation_batch_size is not None:
        values["validation_batch_size"] = profile.validation_batch_size
    values |= {"device": profile.device.name, "source": profile.source}
    values["recipe"] = profile.recipe
    return values


def _callback_class() -> Any:
    """Return the class for the Lightning packages that are imported; `lightning` without one."""
    imported = tuple(name for name in _PACKAGES if name in sys.modules)
    return _class_of(imported or _PACKAGES[:1])


@cache
def _class_of(packages: tuple[str, ...]) -> Any:
    bases = tuple(import_module(name).Callback for name in packages)
    return type("ProfileCallback", (_Hooks, *bases), {"__module__": __name__})
