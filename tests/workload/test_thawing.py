"""Parts of a module that are frozen at first are told of where something would thaw them."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn

from harness.workload.thawing import thaws_later


class Net(pl.LightningModule):
    """A backbone of 12 parameters and a head of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(3, 3)
        self.head = nn.Linear(3, 2)


class Sets(Net):
    """Thaws its backbone in the third epoch."""

    def on_train_epoch_start(self) -> None:
        """Thaw."""
        if self.current_epoch == 2:
            for parameter in self.backbone.parameters():
                parameter.requires_grad = True


class CallsAMethod(Net):
    """Thaws its backbone at the end of an epoch, in a method of its own."""

    def on_validation_epoch_end(self) -> None:
        """Thaw."""
        self.open_up()

    def open_up(self) -> None:
        """Turn gradients on."""
        self.backbone.requires_grad_(True)


class Unfreezes(Net):
    """Thaws itself by Lightning's word, in a step."""

    def training_step(self, _batch: Any, batch_idx: int) -> None:
        """Thaw."""
        if batch_idx == 1000:
            self.unfreeze()


class Counts(Net):
    """Reads which parameters are trained, and turns on the gradients of its inputs."""

    def on_train_epoch_end(self) -> None:
        """Count."""
        self.trained = sum(parameter.requires_grad for parameter in self.parameters())

    def training_step(self, batch: Any, _batch_idx: int) -> Any:
        """Take a gradient penalty."""
        batch.requires_grad_(True)
        return self.head(self.backbone(batch)).sum()


class Thaws(pl.Callback):
    """Adds the backbone to the optimizer later."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Add a group."""
        if trainer.current_epoch == 1:
            trainer.optimizers[0].add_param_group({"params": pl_module.backbone.parameters()})


def told(module: Net, *callbacks: Any, frozen: bool = True, left_out: bool = False) -> str | None:
    """Return what is told of a module whose backbone is frozen, or left out of the optimizer."""
    module.backbone.requires_grad_(not frozen)
    parameters = module.head.parameters() if left_out else module.parameters()
    return thaws_later(module, list(callbacks), [torch.optim.SGD(parameters, lr=0.1)])


@pytest.mark.parametrize(
    ("module", "callbacks", "where"),
    [
        (Sets, (), "Sets.on_train_epoch_start"),
        (CallsAMethod, (), "CallsAMethod.on_validation_epoch_end"),
        (Unfreezes, (), "Unfreezes.training_step"),
        (Net, (BackboneFinetuning(),), "the callback BackboneFinetuning"),
        (Net, (Thaws(),), "Thaws.on_train_epoch_start"),
    ],
)
def test_what_thaws_later_is_named(
    module: type[Net], callbacks: tuple[Any, ...], where: str
) -> None:
    """The note has the frozen parts, their share, and the code that may thaw them."""
    text = told(module(), *callbacks)
    assert text is not None
    assert text.startswith(
        "12 of 20 parameters (backbone) are not trained when the training begins, and "
        f"{where} may thaw them later"
    )


def test_parameters_that_the_optimizer_lacks_are_told_of_too() -> None:
    """A group that is added later needs memory that a probe does not see."""
    assert told(Net(), Thaws(), frozen=False, left_out=True) is not None


@pytest.mark.parametrize("module", [Net, Counts])
def test_parts_that_are_frozen_for_good_are_no_news(module: type[Net]) -> None:
    """Without anything that would thaw them, there is nothing to tell."""
    assert told(module()) is None


@pytest.mark.parametrize("callbacks", [(), (BackboneFinetuning(),)])
def test_nothing_frozen_is_no_news(callbacks: tuple[Any, ...]) -> None:
    """A module that trains from the start has nothing to thaw, whatever its code could do."""
    assert told(Sets(), *callbacks, frozen=False) is None
