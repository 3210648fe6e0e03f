"""A Trainer that trains on full batches without end, on loaders that stay the user's."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import zoo
from projects import workload
from torch.utils.data import DataLoader, TensorDataset

from harness.errors import HarnessError, NoFullBatchError
from harness.loaders.batch_counts import WrongBatchSizeError
from harness.memory_bounds import no_bound
from harness.probe_tasks.trainer import make_callback, make_trainer, prepare
from harness.workload.build import Workload, build

# Lightning warns about few workers and short loaders, which these tests have on purpose.
pytestmark = pytest.mark.filterwarnings("ignore")


def here(name: str) -> str:
    """Return the class path of an object in this file."""
    return f"{__name__}.{name}"


class Keeping(zoo.Net):
    """Keeps the batches that it trains on, and what the Trainer has as its loaders."""

    def __init__(self) -> None:
        super().__init__(8)
        self.batches: list[Any] = []
        self.loaders: Any = None

    def on_train_start(self) -> None:
        """Keep the Trainer's loaders."""
        self.loaders = self.trainer.train_dataloader

    def training_step(self, batch: Any, _batch_idx: int) -> Any:
        """Keep the batch and train on nothing."""
        self.batches.append(batch)
        return next(self.parameters()).sum()


class Asking(Keeping):
    """Asks for its loader as users do."""

    @property
    def data(self) -> Any:
        """The data module."""
        return vars(self.trainer)["datamodule"]

    def configure_optimizers(self) -> Any:
        """Look at the data module's loader, as a schedule does."""
        loader = self.data.train_dataloader()
        self.before = (len(loader), len(loader.dataset), loader.batch_size)
        return super().configure_optimizers()

    def on_train_start(self) -> None:
        """Make a whole pass over the data module's loader, and one over the Trainer's."""
        super().on_train_start()
        loaders = (self.data.train_dataloader(), self.loaders)
        self.passes = [sum(len(inputs) for inputs, _ in loader) for loader in loaders]


class Batches:
    """A loader of the user's own, which states nothing."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


class Base(pl.LightningDataModule):
    """Ten pairs, in a loader that subclasses define."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 1
        self.calls = 0
        self.data = TensorDataset(torch.arange(10.0), torch.arange(10))

    def loader(self, batch_size: int, **more: Any) -> DataLoader[Any]:
        """Return a loader of the data."""
        self.calls += 1
        return DataLoader(self.data, batch_size=batch_size, **more)


class Plain(Base):
    """One loader."""

    def train_dataloader(self) -> Any:
        """Return it."""
        return self.loader(self.batch_size)


class Shared(Base):
    """Its training and validation share one loader."""

    def setup(self, stage: str) -> None:
        """Make the loader."""
        del stage
        self.one = self.loader(self.batch_size)

    def train_dataloader(self) -> Any:
        """Return it."""
        return self.one

    def val_dataloader(self) -> Any:
        """Return it."""
        return self.one


class Several(Base):
    """Two loaders; the second has twice the batch size."""

    def train_dataloader(self) -> Any:
        """Return both."""
        return {"one": self.loader(self.batch_size), "two": self.loader(2 * self.batch_size)}


class Generated(Base):
    """Batches from a generator."""

    def train_dataloader(self) -> Any:
        """Yield them."""
        self.calls += 1
        for _ in range(2):
            yield torch.zeros(self.batch_size), torch.zeros(self.batch_size)


class Ignoring(Base):
    """Batches of 2, whatever is set; the loader does not state it."""

    def train_dataloader(self) -> Any:
        """Return five batches."""
        return Batches(*[(torch.zeros(2), torch.zeros(2))] * 5)


class IgnoringTwice(Base):
    """Two loaders that ignore what is set."""

    def train_dataloader(self) -> Any:
        """Return both."""
        return [self.loader(2), self.loader(3)]


class Buckets(Base):
    """Batches of 2 at most, because the buckets are small, and only as large as set."""

    def train_dataloader(self) -> Any:
        """Return five batches."""
        size = min(2, self.batch_size)
        return Batches(*[(torch.zeros(size), torch.zeros(size))] * 5)


class Empty(Base):
    """No data."""

    def train_dataloader(self) -> Any:
        """Shuffle nothing."""
        return DataLoader(TensorDataset(torch.zeros(0)), batch_size=self.batch_size, shuffle=True)


class WorstCase(Plain):
    """Gives its own worst-case batches."""

    def worst_case_batch(self, batch_size: int) -> Any:
        """Return ones."""
        return torch.ones(batch_size), torch.ones(batch_size)


class WorstCaseAlone(WorstCase):
    """Has worst-case batches, and data that are not there."""

    def train_dataloader(self) -> Any:
        """Fail."""
        raise FileNotFoundError


class Counting(Base):
    """Counts its samples itself: two rows each."""

    def train_dataloader(self) -> Any:
        """Return tensors with two rows for each sample."""
        return Batches(*[torch.zeros(2 * self.batch_size)] * 3)

    def count_samples(self, batch: torch.Tensor) -> int:
        """Return half of the rows."""
        return len(batch) // 2


class Stops:
    """Hooks of a callback that ends a training after four batches."""

    def on_train_batch_end(self, trainer: Any, _module: Any, _outputs: Any, *_: Any) -> None:
        """Stop."""
        trainer.should_stop = len(trainer.lightning_module.batches) == 4


def trained(data: str, batch_size: int = 4, module: str = "Keeping") -> Workload:
    """Train four batches of a data module in this file."""
    made = build(workload(here(module), here(data)))
    stops = make_callback(made.lightning, Stops)
    trainer = make_trainer(made, no_bound(), {}, limit_val_batches=0, callbacks=[stops])
    prepare(made, trainer, no_bound(), batch_size)
    trainer.fit(made.module, datamodule=made.datamodule)
    return made


def first_of(batches: list[Any]) -> list[list[float]]:
    """Return the inputs of batches."""
    return [inputs.tolist() for inputs, _ in batches]


def test_trainer_repeats_the_full_batches() -> None:
    """Four batches of four are two passes over ten samples."""
    batches = trained("Plain").module.batches
    assert [[0, 1, 2, 3], [4, 5, 6, 7]] * 2 == first_of(batches)


def test_loader_is_the_users_before_and_during_training() -> None:
    """Its length, data set and batch size are the user's, in the hook and in the Trainer."""
    made = trained("Plain", module="Asking")
    assert (3, 10, 4) == made.module.before
    loader = made.module.loaders
    assert (DataLoader, 4, made.datamodule.data) == (
        type(loader),
        loader.batch_size,
        loader.dataset,
    )
    assert type(loader.sampler) is torch.utils.data.SequentialSampler


def test_users_own_pass_ends() -> None:
    """A pass that the user makes has all samples once, the partial batch among them."""
    assert [10, 10] == trained("Plain", module="Asking").module.passes


def test_loader_that_validation_shares_is_the_users() -> None:
    """A loader that was made in `setup` is given on as it is."""
    made = trained("Shared")
    assert made.datamodule.one is made.module.loaders
    assert made.datamodule.one is made.datamodule.val_dataloader()


def test_several_loaders_keep_their_own_sizes_and_names() -> None:
    """Each loader of a mapping is repeated at the size that it states."""
    made = trained("Several")
    sizes = [{name: len(part[0]) for name, part in batch.items()} for batch in made.module.batches]
    assert [{"one": 4, "two": 8}] * 4 == sizes
    assert {"one": 4, "two": 8} == {
        name: loader.batch_size for name, loader in made.module.loaders.items()
    }


def test_generator_is_asked_for_again() -> None:
    """A hook that returns a generator is called for each pass."""
    made = trained("Generated")
    assert [4] * 4 == [len(batch[0]) for batch in made.module.batches]


def test_users_count_of_samples_is_used() -> None:
    """A batch of eight rows is a full batch of four where the user's hook says so."""
    assert [8] * 4 == [len(batch) for batch in trained("Counting").module.batches]


@pytest.mark.parametrize("data", ["WorstCase", "WorstCaseAlone"])
def test_worst_case_batches_replace_the_data(data: str) -> None:
    """The hook's batches are trained, also where the data are missing."""
    assert [[1, 1, 1, 1]] * 4 == first_of(trained(data).module.batches)


def test_worst_case_leaves_the_loader_the_users() -> None:
    """The Trainer has the user's loader, though it trains on the hook's batches."""
    made = trained("WorstCase")
    assert made.datamodule.data is made.module.loaders.dataset


@pytest.mark.parametrize(("data", "found"), [("Ignoring", 2), ("IgnoringTwice", 2)])
def test_loaders_that_ignore_the_size_are_found_out(data: str, found: int) -> None:
    """Batches that stay as they are when another size is set are no small data set."""
    with pytest.raises(WrongBatchSizeError, match=f"a batch of {found} samples .* set to 7"):
        trained(data, 7)


def test_small_buckets_are_a_small_data_set() -> None:
    """Batches that become smaller when less is set obey, and the data hold no full batch."""
    with pytest.raises(NoFullBatchError, match="no full batch of 7"):
        trained("Buckets", 7)


@pytest.mark.parametrize(("data", "batch_size"), [("Empty", 4), ("Plain", 11)])
def test_data_smaller_than_the_batch_are_told(data: str, batch_size: int) -> None:
    """No data, or fewer than the batch size, raise NoFullBatchError."""
    with pytest.raises(NoFullBatchError):
        trained(data, batch_size)


def test_hook_is_called_for_the_trainer_once() -> None:
    """What the user's hook does, such as reading files, is done once."""
    assert 1 == trained("Plain").datamodule.calls


def test_error_of_the_users_hook_passes_through() -> None:
    """Nothing hides what the user's hook raises."""

    class Fails(Plain):
        def train_dataloader(self) -> Any:
            raise HarnessError("mine")

    made = build(workload(here("Keeping"), here("Plain")))
    trainer = make_trainer(made, no_bound(), {}, limit_val_batches=0, callbacks=[])
    made.datamodule.__class__ = Fails
    prepare(made, trainer, no_bound(), 4)
    with pytest.raises(HarnessError, match="mine"):
        trainer.fit(made.module, datamodule=made.datamodule)
