"""Makes a Trainer whose fit ends with its probe, and which says of its length what the user's says.

The matrix may say how long the user's training is (`trainer.max_epochs` and the like). A probe
cannot train as long, but what the workload reads from the Trainer has to be that length: schedules
are computed with it. So the Trainer has the user's settings, and its loops do not obey them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.loaders.counted_batches import length_of

if TYPE_CHECKING:
    from types import ModuleType

NUM_STEPS = 1_000_000
"""The length that is told where the user's is unknown or infinite: no schedule can compute with
an infinite one, and no probe gets that far."""


def make_endless_trainer(
    lightning: ModuleType, *, limit_val_batches: float, whole_epochs: bool = False, **settings: Any
) -> Any:
    """Make a Trainer whose fit is one endless epoch, until `should_stop` is set.

    limit_val_batches: the validation batches of the probe; `settings` may tell the workload others.
    whole_epochs: the fit goes on with further epochs, each of which ends with its loader.
    """
    told_val_batches = settings.pop("told_val_batches", None)
    if settings.get("max_steps") is None and settings.get("max_epochs") is None:
        settings["max_steps"] = NUM_STEPS
        # Lightning's own default where nothing is said.
        settings["max_epochs"] = 1000
    kind = type("Trainer", (_Trainer, lightning.Trainer), {})
    trainer = kind(**settings, limit_val_batches=told_val_batches)
    trainer.probe_val_batches = limit_val_batches
    trainer.whole_epochs = whole_epochs
    fit, epoch = trainer.fit_loop, trainer.fit_loop.epoch_loop
    for loop, mixin in ((fit, _FitLoop), (epoch, _EpochLoop), (epoch.val_loop, _ValidationLoop)):
        loop.__class__ = type(mixin.__name__, (mixin, type(loop)), {})
    return trainer


class _Trainer:
    """Tells finite lengths, and runs no validation but the probe's."""

    probe_val_batches: float = 0
    whole_epochs: bool = False
    first_epoch: int = 0

    @property
    def current_epoch(self) -> int:
        """Return the epoch that is told: a callback may let the probe begin at a later one."""
        return int(super().current_epoch) + self.first_epoch  # type: ignore[misc]  # a property of Lightning's Trainer

    @property
    def estimated_stepping_batches(self) -> int:
        """Return the steps of the user's training; a finite number where it has no end."""
        steps = super().estimated_stepping_batches  # type: ignore[misc]  # a property of Lightning's Trainer
        return int(steps) if 0 < steps < math.inf else NUM_STEPS

    @property
    def enable_validation(self) -> bool:
        return self.probe_val_batches > 0 and super().enable_validation  # type: ignore[misc]  # a property of Lightning's Trainer

    def _run_sanity_check(self) -> None:
        """Check nothing: `num_sanity_val_steps` is only told."""


class _FitLoop:
    """A fit of one epoch, or of whole ones without end, which ends as soon as it is asked to."""

    trainer: Any
    max_batches: float
    epoch_progress: Any
    _combined_loader: Any

    @property
    def done(self) -> bool:
        done = self.epoch_progress.current.processed >= 1 and not self.trainer.whole_epochs
        return done or bool(self.trainer.should_stop)

    @property
    def _can_stop_early(self) -> bool:
        """Return True: `min_epochs` and `min_steps` are only told."""
        return True

    def setup_data(self) -> None:
        """Set up an endless loader, then tell the number of batches in a pass of the user's."""
        trainer = self.trainer
        known = self._combined_loader
        told = trainer.limit_train_batches, trainer.val_check_interval
        trainer.limit_train_batches = trainer.val_check_interval = 1.0
        try:
            super().setup_data()  # type: ignore[misc]  # Lightning's loop
        finally:
            trainer.limit_train_batches, trainer.val_check_interval = told
        if self._combined_loader is not known:
            self.max_batches = _batches_of_a_pass(self._combined_loader, told[0])
            trainer.val_check_batch = _interval(told[1], self.max_batches)


class _EpochLoop:
    """An epoch that no count ends, and which validates when the fit is asked to stop."""

    trainer: Any
    batch_progress: Any
    global_step: int

    @property
    def _is_training_done(self) -> bool:
        return self._num_ready_batches_reached()

    def _num_ready_batches_reached(self) -> bool:
        return bool(self.batch_progress.is_last_batch)

    def _should_check_val_epoch(self) -> bool:
        return bool(self.trainer.enable_validation)

    def _should_check_val_fx(self, *_: Any) -> bool:
        ends = self.trainer.whole_epochs and self.batch_progress.is_last_batch
        return self._should_check_val_epoch() and bool(self.trainer.should_stop or ends)

    def update_lr_schedulers(self, *arguments: Any, **named: Any) -> None:
        """Step the schedules until the user's training would have ended; some refuse to go on."""
        if self.global_step <= self.trainer.estimated_stepping_batches:
            super().update_lr_schedulers(*arguments, **named)  # type: ignore[misc]  # Lightning's loop


class _ValidationLoop:
    """Runs the probe's validation batches, whatever number the workload is told."""

    trainer: Any

    def setup_data(self) -> None:
        trainer = self.trainer
        told, trainer.limit_val_batches = trainer.limit_val_batches, trainer.probe_val_batches
        try:
            super().setup_data()  # type: ignore[misc]  # Lightning's loop
        finally:
            trainer.limit_val_batches = told


def _batches_of_a_pass(combined: Any, limit: float) -> float:
    """Return the batches of one pass of the user's training; at least 1, because schedules divide.

    A data set that is smaller than the batch ends a probe later, with its own message.
    """
    known = [length_of(loader) for loader in combined.flattened]
    lengths = [_limited(math.inf if length is None else length, limit) for length in known]
    shortest = combined._mode == "min_size"  # noqa: SLF001 - no public way
    return max(1, min(lengths) if shortest else max(lengths))


def _limited(length: float, limit: float) -> float:
    """Return the batches that `limit_train_batches` leaves: a number of them, or a share."""
    if isinstance(limit, int):
        return min(length, limit)
    return length if length == math.inf else int(length * limit)


def _interval(val_check_interval: Any, num_batches: float) -> float:
    """Return the batches between two validations of the user's training."""
    if isinstance(val_check_interval, int):
        return val_check_interval
    if num_batches == math.inf or not isinstance(val_check_interval, float):
        return math.inf
    return max(1, int(num_batches * val_check_interval))
