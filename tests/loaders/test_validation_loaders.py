"""Whether a workload has validation, and its loaders at the size that a probe sets."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import zoo
from projects import workload
from torch.utils.data import DataLoader

from harness.errors import NoFullBatchError
from harness.loaders.batch_counts import WrongBatchSizeError
from harness.loaders.validation_loaders import (
    FullFirstBatch,
    has_validation,
    num_validation_samples,
    validate_on_full_batches,
)
from harness.workload.build import Workload, build

# Lightning's combined loader uses what torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore")


def here(name: str) -> str:
    """Return the class path of an object in this file."""
    return f"{__name__}.{name}"


def built(module: str = "zoo.Net", data: str | None = "zoo.Numbers", **more: Any) -> Workload:
    """Build a small workload."""
    return build(workload(module, data, **more))


def sizes(loader: Any, number: int = 2) -> list[int]:
    """Return the sizes of a loader's first batches."""
    return [len(batch[0]) for batch, _ in zip(loader, range(number), strict=False)]


class Loop:
    """Asks for its loaders as Lightning's loop of validation does."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.loaders: Any = None

    def setup_data(self) -> None:
        """Call the hook."""
        self.loaders = self.owner.val_dataloader()


def asked(found: Workload, batch_size: int) -> Any:
    """Return the combined loader that a Trainer validates on."""
    loop = Loop(found.loader_owner)
    trainer = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=loop)))
    validate_on_full_batches(trainer, found, batch_size)
    loop.setup_data()
    return loop.loaders


def validated(found: Workload, batch_size: int, number: int = 2) -> list[int]:
    """Return the sizes of the first batches that a Trainer validates on."""
    return [len(batch[0]) for batch, *_ in islice(asked(found, batch_size), number)]


class OwnAttribute(zoo.Numbers):
    """Has a validation batch size of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.val_batch_size = 3

    def val_dataloader(self) -> Any:
        """Use that batch size."""
        return DataLoader(self.train, batch_size=self.val_batch_size)


class OwnHyperparameter(zoo.Numbers):
    """Keeps its validation batch size in its hparams."""

    def __init__(self, eval_batch_size: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters({"eval_batch_size": eval_batch_size})

    def val_dataloader(self) -> Any:
        """Use that batch size."""
        return DataLoader(self.train, batch_size=self.hparams["eval_batch_size"])


class Config(zoo.Numbers):
    """Keeps its batch size in a mapping of settings."""

    def __init__(self) -> None:
        super().__init__()
        del self.batch_size
        self.config = {"size": 4}

    def val_dataloader(self) -> Any:
        """Use that batch size."""
        return DataLoader(self.train, batch_size=self.config["size"])


class Several(zoo.Numbers):
    """Validates on a list of two sets."""

    def __init__(self, num_samples: int = 4096) -> None:
        super().__init__(num_samples)

    def val_dataloader(self) -> Any:
        """Return two loaders."""
        return [super().val_dataloader(), super().val_dataloader()]


class Endless(zoo.Numbers):
    """Validates on a stream, which has no length."""

    def val_dataloader(self) -> Any:
        """Return an iterator over batches."""
        return iter([torch.zeros(4, 16)])


class Fixed(zoo.Numbers):
    """Validates in batches of 7, whatever size is set."""

    def val_dataloader(self) -> Any:
        """Ignore the batch size."""
        return DataLoader(self.train, batch_size=7)


class OwnLoaders(zoo.Net):
    """Has loaders of its own, and needs no data module."""

    def __init__(self) -> None:
        super().__init__(8)
        self.batch_size = 4

    def val_dataloader(self) -> Any:
        """Validate on numbers."""
        return DataLoader(zoo.Numbers(64).train, batch_size=self.batch_size)


@pytest.mark.parametrize(
    ("module", "data", "expected"),
    [
        ("zoo.Net", "zoo.Numbers", True),
        ("zoo.NoValidation", "zoo.Numbers", False),
        ("zoo.OlderPackageNet", "zoo.OlderPackageNumbers", False),
        ("zoo.PlainModel", "zoo.PlainData", True),
        (here("OwnLoaders"), None, True),
        ("zoo.Net", None, False),
    ],
)
def test_validation_takes_a_step_and_a_loader(
    module: str, data: str | None, *, expected: bool
) -> None:
    """Validation needs the module's step, and a loader of the data or else of the module."""
    assert expected == has_validation(built(module, data))


@pytest.mark.parametrize(
    ("module", "data", "expected"),
    [
        ("zoo.Net", "zoo.Numbers", 4096),
        (here("OwnLoaders"), None, 64),
        ("zoo.NoValidation", "zoo.Numbers", None),
        ("zoo.Net", here("Several"), None),
        ("zoo.Net", here("Endless"), None),
    ],
)
def test_validation_samples_are_counted_where_they_can_be(
    module: str, data: str | None, expected: int | None
) -> None:
    """The samples of one data set are counted; no data, several sets and streams give None."""
    assert expected == num_validation_samples(built(module, data))


@pytest.mark.parametrize("data", ["zoo.Numbers", here("OwnAttribute"), here("OwnHyperparameter")])
def test_loader_takes_the_size_searched_for(data: str) -> None:
    """The loader has the probe's size, with or without an attribute for it; training's stays."""
    found = built(data=data)
    assert [20, 20] == validated(found, 20)
    assert (4, [4, 4]) == (found.datamodule.batch_size, sizes(found.datamodule.train_dataloader()))


def test_named_attribute_is_used_and_restored() -> None:
    """The attribute of `batch_size_attr` is set for the loader, and then restored."""
    found = built(data=here("Config"), batch_size_attr="config.size")
    assert [20, 20] == validated(found, 20)
    assert {"size": 4} == found.datamodule.config


def test_training_size_comes_back_after_a_loader_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Training's batch size and the user's hook are back after the user's loader raises."""
    found = built()
    hook = found.datamodule.val_dataloader
    monkeypatch.delattr(found.datamodule, "train")
    with pytest.raises(AttributeError, match="train"):
        asked(found, 20)
    assert (4, hook) == (found.datamodule.batch_size, found.datamodule.val_dataloader)


def test_modules_own_loader_is_replaced() -> None:
    """Without a data module, the module's own loader gets the size."""
    assert [20, 20] == validated(built(here("OwnLoaders"), None), 20)


def test_each_of_several_loaders_takes_the_size() -> None:
    """A list of loaders stays a list, and each loader has the size."""
    found = built(data=here("Several"), data_args={"num_samples": 40})
    assert [20, 20, 20, 20] == validated(found, 20, number=9)
    assert [20, 20] == [loader.batch_size for loader in asked(found, 20).iterables]


def test_trainers_loader_is_the_users() -> None:
    """The combined loader holds the very loader that the hook returned."""
    loader = asked(built(), 20).iterables
    assert (DataLoader, 20) == (type(loader), loader.batch_size)


@pytest.mark.parametrize(("num_samples", "expected"), [(20, [20]), (21, [20, 1]), (40, [20, 20])])
def test_last_batch_may_be_partial(num_samples: int, expected: list[int]) -> None:
    """Only the first batch must be full; the length is that of the user's loader."""
    data = zoo.Numbers(num_samples).train
    loader = FullFirstBatch(DataLoader(data, batch_size=20), 20)
    assert (expected, len(expected)) == (sizes(loader, 5), len(loader))


def test_smaller_batches_before_the_first_full_one_are_left_out() -> None:
    """A bucket that is too small may come first."""
    loader = FullFirstBatch([torch.zeros(1, 3), torch.zeros(1, 4), torch.zeros(1, 2)], 4)
    loader.count_samples = lambda batch: int(batch.shape[1])
    assert [4, 2] == [batch.shape[1] for batch in loader]


def test_data_smaller_than_the_batch_are_told_apart() -> None:
    """Data without a full batch raise NoFullBatchError."""
    with pytest.raises(NoFullBatchError, match="the validation data hold no full batch of 20"):
        validated(built(data_args={"num_samples": 19}), 20)


@pytest.mark.parametrize("batch_size", [5, 9])
def test_loader_that_ignores_the_size_is_found_out(batch_size: int) -> None:
    """Other batches are refused, and the error names the attributes that the loader should use."""
    with pytest.raises(
        WrongBatchSizeError, match=rf"a batch of 7 samples .* set to {batch_size}: .*val_batch_size"
    ):
        validated(built(data=here("Fixed")), batch_size)
