"""Setting a locked profile's values on a module and its data, and refusing other workloads."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from measurements import locked
from torch.utils.data import DataLoader, TensorDataset

import harness
from harness.errors import HarnessError
from harness.identity.fingerprint import describe_data, describe_module
from harness.measurement import Bucket, DeviceIdentity

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile


class Net(LightningModule):
    """A module with a learning rate."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.lr = 0.1
        self.layer = torch.nn.Linear(3, width)


class Around(LightningModule):
    """A module with a learning rate around a network."""

    def __init__(self, network: torch.nn.Module, *, head: bool = False) -> None:
        super().__init__()
        self.learning_rate = 0.1
        self.network = network
        if head:
            self.head = torch.nn.Linear(2, 2)


class Late(LightningModule):
    """A module that has no parameters until the Trainer configures it."""

    lr = 0.1


class Data(LightningDataModule):
    """A data module over three samples."""

    num_workers: int
    bucket_batch_sizes: dict[float, int]

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.batch_size = 1
        self.size = size

    def setup(self, stage: str) -> None:
        """Make the data set."""
        del stage
        self.train = TensorDataset(torch.zeros(3, self.size))

    def train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of the data set."""
        return DataLoader(self.train)


def profile_of(module: torch.nn.Module, data: Any, **changes: Any) -> LockedProfile:
    """Return the profile of a workload as a run locks it, with its data set up."""
    if hasattr(data, "setup"):
        data.setup("fit")
    return locked(workload=describe_module(module) | describe_data(data), **changes)


def test_apply_sets_batch_size_and_learning_rate() -> None:
    """The batch size and the learning rate are set where training reads them."""
    module, data = Net(), Data()
    harness.apply(profile_of(Net(), Data()), module, data)
    assert (data.batch_size, module.lr) == (3328, 0.00316)


def test_apply_works_without_a_data_module() -> None:
    """Without a data module, the module's own batch size is set."""
    module: Any = Net()
    module.batch_size = 1
    harness.apply(profile_of(Net(), Data()), module)
    assert module.batch_size == 3328


def test_apply_follows_named_attributes() -> None:
    """Dotted names select other attributes for the values."""
    module: Any = Net()
    data: Any = Data()
    module.config = {"optimizer": {"rate": 0.1}}
    data.sizes = SimpleNamespace(batch=1)
    harness.apply(
        profile_of(Net(), Data()),
        module,
        data,
        batch_size_attr="sizes.batch",
        learning_rate_attr="config.optimizer.rate",
    )
    assert (data.sizes.batch, data.batch_size) == (3328, 1)
    assert (module.config, module.lr) == ({"optimizer": {"rate": 0.00316}}, 0.1)


@pytest.mark.parametrize(
    ("measured", "named", "warned"),
    [
        (None, None, False),
        (None, "lr", False),
        (None, "config.rate", True),
        ("config.rate", None, True),
        ("config.rate", "config.rate", False),
        ("lr", None, False),
    ],
)
def test_apply_warns_of_another_attribute_than_was_measured(
    caplog: pytest.LogCaptureFixture, measured: str | None, named: str | None, *, warned: bool
) -> None:
    """The locked learning rate is a value of one attribute; another one may make other rates."""
    settings = {} if measured is None else {"learning_rate_attr": measured}
    module: Any = Net()
    module.config = {"rate": 0.1}
    harness.apply(
        profile_of(Net(), Data(), settings=settings), module, Data(), learning_rate_attr=named
    )
    assert warned == ("name the same attribute here by learning_rate_attr" in caplog.text)


def test_apply_knows_nothing_of_the_attribute_of_a_plain_network(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The matrix names no attribute for a plain network, so the module around it may have any."""
    network = torch.nn.Linear(3, 4)
    module: Any = Around(network)
    module.rate = 0.1
    harness.apply(profile_of(network, Data()), module, Data(), learning_rate_attr="rate")
    assert (module.rate, "") == (0.00316, caplog.text)


def test_apply_sets_the_validation_batch_where_there_is_one() -> None:
    """A data module's own validation batch size is set to the locked one."""
    data: Any = Data()
    data.val_batch_size = 1
    harness.apply(profile_of(Net(), Data()), Net(), data)
    assert (data.val_batch_size, data.batch_size) == (8192, 3328)


@pytest.mark.parametrize(("validation", "warned"), [(3327, True), (3328, False), (None, False)])
def test_apply_warns_of_a_validation_batch_that_has_no_place(
    caplog: pytest.LogCaptureFixture, validation: int | None, *, warned: bool
) -> None:
    """A smaller locked validation batch that no attribute takes is a warning."""
    harness.apply(profile_of(Net(), Data(), validation_batch_size=validation), Net(), Data())
    assert ("validation is locked at batch 3327" in caplog.text) is warned


def test_apply_without_a_locked_learning_rate_says_why() -> None:
    """The error gives the locked refusal and the argument to do without; nothing is set."""
    module, data = Net(), Data()
    profile = profile_of(
        Net(), Data(), learning_rate=None, lr_refusal="signal-to-noise 2.1 is under 4"
    )
    with pytest.raises(HarnessError) as caught:
        harness.apply(profile, module, data)
    assert str(caught.value) == (
        "resnet18-h200-224 is locked without a learning rate: signal-to-noise 2.1 is under 4. "
        "Set the batch size alone with learning_rate=False"
    )
    assert data.batch_size == 1
    harness.apply(profile, module, data, learning_rate=False)
    assert (data.batch_size, module.lr) == (3328, 0.1)


def test_apply_sets_nothing_where_one_place_is_missing() -> None:
    """A module without a learning rate is an error before the batch size is set."""
    data = Data()
    module = Net()
    del module.lr
    with pytest.raises(HarnessError, match=r"no learning rate to set: looked for Net\.lr"):
        harness.apply(profile_of(Net(), Data()), module, data)
    assert data.batch_size == 1


def test_apply_refuses_another_module() -> None:
    """A module with other parameters is refused with both counts."""
    module, data = Net(5), Data()
    with pytest.raises(HarnessError) as caught:
        harness.apply(profile_of(Net(), Data()), module, data)
    assert str(caught.value).startswith(
        "resnet18-h200-224 is locked for another workload: num_parameters 16 -> 20. "
        "Lock the workload as it is with"
    )
    assert (module.lr, data.batch_size) == (0.1, 1)


def test_apply_refuses_other_dtypes() -> None:
    """A module in half precision is refused, although its counts are the same."""
    with pytest.raises(HarnessError, match="names, shapes or dtypes of the parameters"):
        harness.apply(profile_of(Net(), Data()), Net().half(), Data())


def test_apply_accepts_a_renamed_class() -> None:
    """A module whose class was renamed is accepted."""
    profile = profile_of(Net(), Data())
    module = Net()
    harness.apply(
        replace(profile, workload=profile.workload | {"module": "old.Name"}), module, Data()
    )
    assert module.lr == 0.00316


def test_apply_finds_a_plain_network_in_its_module() -> None:
    """A module around only the plain network that the matrix names is the same workload."""
    network = torch.nn.Linear(3, 4)
    module = Around(network)
    harness.apply(profile_of(torch.nn.Linear(3, 4), Data()), module, Data())
    assert module.learning_rate == 0.00316


def test_apply_refuses_a_network_with_more_around_it() -> None:
    """A module with more parameters than the locked network is another workload."""
    with pytest.raises(HarnessError, match="num_tensors 2 -> 4"):
        harness.apply(
            profile_of(torch.nn.Linear(3, 4), Data()),
            Around(torch.nn.Linear(3, 4), head=True),
            Data(),
        )


def test_apply_accepts_a_module_that_is_configured_later() -> None:
    """A module whose parameters do not exist yet is accepted."""
    module = Late()
    harness.apply(profile_of(Net(), Data()), module, Data())
    assert module.lr == 0.00316


def test_apply_refuses_another_data_class() -> None:
    """Another class of data is refused, even if the data are not set up."""
    profile = profile_of(Net(), Data())
    other = replace(profile, workload=profile.workload | {"data": "zoo.Other"})
    with pytest.raises(HarnessError, match=rf"data zoo\.Other -> {__name__}\.Data"):
        harness.apply(other, Net(), Data())


def test_apply_refuses_other_samples_where_they_are_at_hand() -> None:
    """A data module that is set up with other samples is refused."""
    data = Data(size=5)
    data.setup("fit")
    with pytest.raises(HarnessError, match=r"sample float32\[3\] -> float32\[5\]"):
        harness.apply(profile_of(Net(), Data()), Net(), data)


def test_apply_does_not_set_data_up() -> None:
    """Data that are not set up stay so: only their class is compared."""
    data = Data(size=5)
    harness.apply(profile_of(Net(), Data()), Net(), data)
    assert not hasattr(data, "train")


def test_apply_knows_a_script_by_the_name_of_its_class() -> None:
    """A data class is recognised in the script that defines it, where its module is `__main__`."""

    class Renamed(Data):
        pass

    Renamed.__module__, Renamed.__qualname__ = "__main__", "Data"
    data = Renamed()
    harness.apply(profile_of(Net(), Data()), Net(), data)
    assert data.batch_size == 3328


def test_apply_knows_a_plain_data_set_behind_a_data_module() -> None:
    """A data module that loads the data set that the matrix names is the same data."""
    data = Data()
    data.setup("fit")
    harness.apply(profile_of(Net(), data.train), Net(), data)
    assert data.batch_size == 3328


def test_a_profile_without_a_description_is_accepted() -> None:
    """A profile that records no parts of its workload is accepted."""
    module, data = Net(), Data()
    harness.apply(locked(workload={}), module, data)
    assert data.batch_size == 3328


STEP: dict[str, Any] = {
    "batch_size": 64,
    "max_batch_size": 70,
    "accumulate_grad_batches": 4,
    "global_batch_size": 256,
}


@pytest.mark.parametrize(("ranks", "expected"), [(1, (64, 4)), (2, (64, 2)), (8, (32, 1))])
def test_apply_sets_the_accumulation_of_the_trainer(ranks: int, expected: tuple[int, int]) -> None:
    """Micro-batch, accumulation and the Trainer's processes make the locked global batch."""
    data, trainer = Data(), SimpleNamespace(world_size=ranks, accumulate_grad_batches=1)
    harness.apply(profile_of(Net(), Data(), **STEP), Net(), data, trainer=trainer)
    assert expected == (data.batch_size, trainer.accumulate_grad_batches)


def test_accumulation_that_the_trainer_has_is_refused() -> None:
    """A Trainer that accumulates already would make another batch: nothing is set."""
    data, trainer = Data(), SimpleNamespace(world_size=1, accumulate_grad_batches=8)
    with pytest.raises(HarnessError, match="and the Trainer has 8: leave it out of the Trainer"):
        harness.apply(profile_of(Net(), Data(), **STEP), Net(), data, trainer=trainer)
    assert (1, 8) == (data.batch_size, trainer.accumulate_grad_batches)


def test_apply_without_a_trainer_tells_the_accumulation(caplog: pytest.LogCaptureFixture) -> None:
    """Without a Trainer the batch alone is set, and the log says what else it takes."""
    data = Data()
    harness.apply(profile_of(Net(), Data(), **STEP), Net(), data)
    assert 64 == data.batch_size
    assert "hand the Trainer over, as apply(..., trainer=trainer)" in caplog.text


def test_a_trainer_with_other_devices_than_were_locked_is_refused() -> None:
    """What fits on eight ranks need not fit on four: nothing is set."""
    device = DeviceIdentity("NVIDIA H200", 150754820096, 8)
    profile = profile_of(Net(), Data(), device=device)
    data = Data()
    with pytest.raises(HarnessError, match="is locked on 8 devices, and the Trainer has 4"):
        harness.apply(profile, Net(), data, trainer=SimpleNamespace(num_devices=4, world_size=4))
    assert 1 == data.batch_size
    eight = SimpleNamespace(num_devices=8, world_size=8)
    harness.apply(profile, Net(), data, trainer=eight)
    assert (profile.batch_size, 8) == (data.batch_size, profile.num_ranks)


def test_accumulation_of_other_profiles_is_left_alone() -> None:
    """A profile without a global batch says nothing about the Trainer's accumulation."""
    trainer = SimpleNamespace(world_size=1, accumulate_grad_batches=8)
    harness.apply(profile_of(Net(), Data()), Net(), Data(), trainer=trainer)
    assert 8 == trainer.accumulate_grad_batches


def test_apply_sets_the_workers_where_the_data_have_them() -> None:
    """A locked number of workers is set on the data module, or in its hparams; else nothing is."""
    data, plain = Data(), Data()
    data.num_workers = 4
    for one in (data, plain):
        harness.apply(profile_of(Net(), Data(), num_workers=0), Net(), one)
    assert (0, False) == (data.num_workers, hasattr(plain, "num_workers"))


def test_apply_sets_the_batch_sizes_of_buckets() -> None:
    """Where the data module has them; they are those of the lock, by edge."""
    net, data = Net(), Data()
    data.bucket_batch_sizes = {}
    buckets = (Bucket(8, 90, 100), Bucket(16, 40, 50))
    harness.apply(profile_of(net, data, buckets=buckets), net, data)
    assert {8: 90, 16: 40} == data.bucket_batch_sizes


def test_apply_warns_of_buckets_that_have_no_place(caplog: pytest.LogCaptureFixture) -> None:
    """The warning says what to add."""
    net, data = Net(), Data()
    harness.apply(profile_of(net, data, buckets=(Bucket(8, 90, 100),)), net, data)
    (message,) = caplog.messages
    assert message == (
        "resnet18-h200-224: each bucket of lengths is locked with a batch size of its own, and "
        "cannot be set: neither Net nor Data has an attribute bucket_batch_sizes. Give it one, and to its "
        "loader a batch_sampler, harness.BucketBatchSampler(lengths, self.bucket_batch_sizes)"
    )
