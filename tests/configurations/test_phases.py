"""A probe can begin in a later epoch, as the user's training gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import BackboneFinetuning
from phases_zoo import ThawsByHook, Tuned

from harness.configurations import begin_at_epoch
from harness.errors import HarnessError
from harness.probe_trainer.endless_fit import make_endless_trainer

if TYPE_CHECKING:
    from pathlib import Path

# Its loaders have no workers, and it logs nothing.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class Stop(pl.Callback):
    """Ends a fit after one step."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Ask for the end."""
        trainer.should_stop = True


def settings(folder: Path, *callbacks: pl.Callback) -> dict[str, Any]:
    """Return keywords of a Trainer that writes nothing."""
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    common = {"accelerator": "cpu", "default_root_dir": folder, **dict.fromkeys(quiet, False)}
    return {**common, "callbacks": [*callbacks, Stop()]}


def fit_as_probe(folder: Path, module: Tuned, *callbacks: pl.Callback) -> Any:
    """Fit for one step; return the Trainer."""
    trainer = make_endless_trainer(pl, limit_val_batches=0, **settings(folder, *callbacks))
    trainer.fit(module)
    return trainer


def trained(module: Tuned) -> int:
    """Return the number of tensors that have a gradient."""
    return sum(one.requires_grad for one in module.parameters())


@pytest.mark.parametrize(("epoch", "tensors", "groups"), [(0, 2, 1), (1, 2, 1), (2, 6, 2)])
def test_module_thaws_as_in_its_own_epoch(
    epoch: int, tensors: int, groups: int, tmp_path: Path
) -> None:
    """Each epoch before begins once, and the optimizer has what is thawed by then."""
    module = ThawsByHook()
    trainer = fit_as_probe(tmp_path, module, begin_at_epoch(epoch))
    assert [*range(epoch + 1)] == module.begun
    assert (tensors, groups) == (trained(module), len(trainer.optimizers[0].param_groups))
    assert epoch + 1 == module.current_epoch  # the fit ends with its epoch


def test_later_epochs_stay_thawed(tmp_path: Path) -> None:
    """What an epoch before has thawed is trained, and thawed once."""
    module = Tuned()
    finetuning = BackboneFinetuning(unfreeze_backbone_at_epoch=2)
    trainer = fit_as_probe(tmp_path, module, finetuning, begin_at_epoch(4))
    assert (6, 2) == (trained(module), len(trainer.optimizers[0].param_groups))


def test_training_of_the_user_begins_at_its_beginning(tmp_path: Path) -> None:
    """The callback does nothing outside of probes."""
    module = ThawsByHook()
    pl.Trainer(max_epochs=1, **settings(tmp_path, begin_at_epoch(2))).fit(module)
    assert [0] == module.begun


@pytest.mark.parametrize("epoch", [-1, True, 1.0, "2"])
def test_other_epochs_are_refused(epoch: Any) -> None:
    """The message says what is allowed."""
    with pytest.raises(HarnessError, match="is not allowed; a whole number from 0"):
        begin_at_epoch(epoch)
