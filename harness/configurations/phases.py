"""Lets probes begin in a later epoch, where a callback or a hook has thawed what was frozen."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from lightning.pytorch import Callback

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def begin_at_epoch(epoch: int) -> Callback:
    """Return a callback for `trainer.callbacks` of a matrix: probes begin at this epoch.

    When a probe begins to train, `on_train_epoch_start` of all callbacks and of the module is
    called for each epoch before. The weights are those of the beginning. In a training of the
    user's the callback does nothing.
    """
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
        raise HarnessError(f"epoch: {epoch!r:.80} is not allowed; a whole number from 0")
    imported = [name for name in _PACKAGES if name in sys.modules] or _PACKAGES[:1]
    bases = tuple(import_module(name).Callback for name in imported)
    made: Callback = type("BeginAtEpoch", (_Hooks, *bases), {"__module__": __name__})(epoch)
    return made


class _Hooks:
    """The hooks of the callback; mixed into `Callback` of the Lightning packages that are there."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Do what the epochs before begin with; the Trainer of a probe tells each of them."""
        if not hasattr(trainer, "first_epoch"):
            return
        for epoch in range(self.epoch):
            trainer.first_epoch = epoch
            for callback in trainer.callbacks:
                callback.on_train_epoch_start(trainer, pl_module)
            pl_module.on_train_epoch_start()
        trainer.first_epoch = self.epoch
