"""The batch size and the learning rate are found and set in the places of Lightning's Tuner."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.parsing import lightning_getattr, lightning_setattr

from harness.errors import HarnessError
from harness.workload import attributes


class Module(LightningModule):
    """A module with both values as hyper-parameters, and the learning rate as an attribute."""

    def __init__(self, lr: float = 0.1, batch_size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters({"lr": lr, "batch_size": batch_size})
        self.lr = lr


class Data(LightningDataModule):
    """A data module with the batch size as an attribute and as a hyper-parameter."""

    def __init__(self, batch_size: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.batch_size = batch_size


def bare(**values: Any) -> Any:
    """Make an object with these attributes and nothing else."""
    return SimpleNamespace(**values)


def test_every_place_is_set() -> None:
    """The module, the data module and the hparams of both get the value where they have one."""
    module, data = Module(), Data()
    attributes.set_batch_size(module, data, 64)
    assert (module.hparams["batch_size"], data.batch_size, data.hparams["batch_size"]) == (
        64,
        64,
        64,
    )
    assert not hasattr(module, "batch_size")


def test_places_are_those_of_lightning() -> None:
    """The places that are set and read are those of Lightning's own helpers."""
    ours, theirs = (Module(), Data()), (Module(), Data())
    attributes.set_batch_size(*ours, 64)
    theirs[0]._trainer = bare(datamodule=theirs[1])
    lightning_setattr(theirs[0], "batch_size", 64)
    assert [dict(thing.hparams) for thing in ours] == [dict(thing.hparams) for thing in theirs]
    assert attributes.get_batch_size(*ours) == lightning_getattr(theirs[0], "batch_size")


def test_the_data_module_is_read_first() -> None:
    """Where places disagree, the data module's value counts, because it loads the data."""
    assert attributes.get_batch_size(bare(batch_size=1), bare(batch_size=2)) == 2


def test_a_module_without_data_module_is_enough() -> None:
    """Without a data module, the module's own batch size is set."""
    module = bare(batch_size=1)
    attributes.set_batch_size(module, None, 5)
    assert module.batch_size == 5


@pytest.mark.parametrize("hparams", [{"batch_size": 1}, Namespace(batch_size=1)])
def test_hparams_may_be_a_mapping_or_a_namespace(hparams: Any) -> None:
    """Hyper-parameters of both kinds get the value."""
    module = bare(hparams=hparams)
    attributes.set_batch_size(module, None, 5)
    assert attributes.get_batch_size(module, None) == 5


@pytest.mark.parametrize(
    ("names", "set_name"),
    [(["lr"], "lr"), (["learning_rate"], "learning_rate"), (["lr", "learning_rate"], "lr")],
)
def test_the_learning_rate_is_lr_or_learning_rate(names: list[str], set_name: str) -> None:
    """Only the first name that exists is set, as Lightning does it."""
    module = bare(**dict.fromkeys(names, 0.1))
    attributes.set_learning_rate(module, None, 0.5)
    assert vars(module) == dict.fromkeys(names, 0.1) | {set_name: 0.5}
    assert attributes.get_learning_rate(module, None) == 0.5


def test_a_value_of_none_is_a_place() -> None:
    """An attribute with the value None is set."""
    module = bare(lr=None)
    attributes.set_learning_rate(module, None, 0.5)
    assert module.lr == 0.5


def test_a_method_is_no_place() -> None:
    """A method called `lr` is not overwritten, and the next name is set."""
    module = bare(lr=lambda: 0.1, learning_rate=0.1)
    attributes.set_learning_rate(module, None, 0.5)
    assert (callable(module.lr), module.learning_rate) == (True, 0.5)


def test_dotted_names_walk_objects_and_mappings() -> None:
    """A dotted name goes through attributes and keys, on the module and in its hparams."""
    module = bare(
        config=bare(optimizer={"lr": 0.1}), hparams={"config": {"optimizer": bare(lr=0.1)}}
    )
    attributes.set_learning_rate(module, None, 0.5, attr="config.optimizer.lr")
    assert module.config.optimizer == {"lr": 0.5}
    assert module.hparams["config"]["optimizer"].lr == 0.5


def test_a_named_attribute_is_the_only_one_set() -> None:
    """Only the attribute that `attr` names is set and read."""
    module = bare(batch_size=1, config={"batch": 1})
    attributes.set_batch_size(module, None, 5, attr="config.batch")
    assert (module.batch_size, attributes.get_batch_size(module, None, attr="config.batch")) == (
        1,
        5,
    )


def test_no_place_names_those_looked_at() -> None:
    """The error lists the places, and the option that names another one."""
    with pytest.raises(HarnessError) as caught:
        attributes.set_batch_size(bare(hparams={}), bare(), 5)
    assert str(caught.value) == (
        "no batch size to set: looked for SimpleNamespace.batch_size, "
        "SimpleNamespace.hparams.batch_size, SimpleNamespace.batch_size. Add one of these "
        "attributes and use it, or name another one with batch_size_attr; a dotted name leads "
        "into an object: config.batch_size"
    )


def test_no_place_for_a_learning_rate_names_both_names() -> None:
    """The error lists both names of the learning rate."""
    with pytest.raises(
        HarnessError,
        match=r"no learning rate to set: .*\.lr, .*\.learning_rate\. .* learning_rate_attr",
    ):
        attributes.get_learning_rate(bare(), None)


@pytest.mark.parametrize("attr", ["config.batch", "none.batch", "number.batch"])
def test_a_named_attribute_that_is_not_there_is_an_error(attr: str) -> None:
    """The error shows a dotted name that does not exist, wherever its path ends."""
    module = bare(config={}, none=None, number=3)
    with pytest.raises(HarnessError, match=rf"looked for SimpleNamespace\.{attr}\."):
        attributes.set_batch_size(module, None, 5, attr=attr)


class Derived:
    """A read-only property over a hyper-parameter."""

    def __init__(self) -> None:
        self.hparams = {"batch_size": 1}

    @property
    def batch_size(self) -> int:
        """The hyper-parameter."""
        return self.hparams["batch_size"]


def test_a_property_over_another_place_takes_its_value() -> None:
    """A property that cannot be assigned is no error if it reads a place that was set."""
    module = Derived()
    attributes.set_batch_size(module, None, 5)
    assert module.batch_size == 5


@dataclass(frozen=True)
class Frozen:
    """A configuration that cannot be changed."""

    batch_size: int = 1


def test_a_place_that_takes_no_value_is_an_error() -> None:
    """The error about a frozen configuration has the reason that it gives."""
    with pytest.raises(
        HarnessError,
        match=r"Frozen\.batch_size cannot be set to 5: it is 1 \(FrozenInstanceError: ",
    ):
        attributes.set_batch_size(Frozen(), None, 5)


class Clamped:
    """Limits its batch size to 4."""

    _size = 1

    @property
    def batch_size(self) -> int:
        """The size."""
        return self._size

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        self._size = min(value, 4)


def test_a_place_that_changes_the_value_is_an_error() -> None:
    """A place that stores another value than the one that is set is an error."""
    with pytest.raises(
        HarnessError, match=r"Clamped\.batch_size cannot be set to 5: it is 4; make it assignable"
    ):
        attributes.set_batch_size(Clamped(), None, 5)


class Moody:
    """Has a property that raises, like those of Lightning that need a Trainer."""

    @property
    def batch_size(self) -> int:
        """Raise."""
        raise RuntimeError("not attached to a Trainer")


def test_a_property_that_raises_is_no_place() -> None:
    """A place that cannot be read counts as absent."""
    data = bare(batch_size=1)
    attributes.set_batch_size(Moody(), data, 5)
    assert data.batch_size == 5


@pytest.mark.parametrize("name", ["validation_batch_size", "val_batch_size", "eval_batch_size"])
def test_validation_has_names_of_its_own(name: str) -> None:
    """Each name of a validation batch size is set, and training's batch size stays."""
    data = bare(**{name: 1, "batch_size": 1})
    assert attributes.set_validation_batch_size(data, 7) is True
    assert vars(data) == {name: 7, "batch_size": 1}


def test_without_a_validation_batch_size_nothing_is_set() -> None:
    """A data module with a common batch size keeps its value."""
    data = bare(batch_size=1)
    assert attributes.set_validation_batch_size(data, 7) is False
    assert vars(data) == {"batch_size": 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(32, ["train_batch_size"]), (8, ["config.data.batch_size_train"]), (5, [])],
)
def test_attributes_that_look_like_a_batch_size_are_found(value: int, expected: list[str]) -> None:
    """Those that hold the value are named, in objects and mappings too; validation's are not."""
    data = SimpleNamespace(
        train_batch_size=32,
        val_batch_size=32,
        num_batches=32,
        trainer=SimpleNamespace(datamodule=SimpleNamespace(train_batch_size=32)),
        config=SimpleNamespace(data={"batch_size_train": 8}),
    )
    assert expected == list(attributes.likely_batch_sizes(None, data, value))


def test_missing_batch_size_names_what_looks_like_one() -> None:
    """The error for a missing batch size proposes the attribute that exists."""
    data = SimpleNamespace(train_batch_size=32)
    with pytest.raises(HarnessError, match="set `batch_size_attr: train_batch_size`"):
        attributes.set_batch_size(None, data, 1)
