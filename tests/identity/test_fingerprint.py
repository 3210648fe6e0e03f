"""Describing a workload by parameters, data and samples, without imports and side effects."""

from __future__ import annotations

import random
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from harness.identity.fingerprint import (
    describe_data,
    describe_module,
    describe_samples,
    fingerprint,
    workload_changes,
)

if TYPE_CHECKING:
    from harness.case_names import Scalar


def net(width: int = 4) -> torch.nn.Module:
    """Return a network of one hidden layer."""
    return torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 2))


class Data(LightningDataModule):
    """A data module whose data exist only after `setup`."""

    def __init__(self, num_samples: int = 10) -> None:
        super().__init__()
        self.num_samples = num_samples

    def setup(self, stage: str) -> None:
        """Make the data set."""
        del stage
        self.train = TensorDataset(
            torch.zeros(self.num_samples, 1, 8, 8), torch.zeros(self.num_samples).long()
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader; raise AttributeError before `setup`."""
        return DataLoader(self.train, batch_size=2)


class Items(Dataset[Any]):
    """A data set of given items."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def test_a_module_is_its_parameters() -> None:
    """A module is described by class path, number of values, number of tensors and digest."""
    described = describe_module(net())
    assert {key: described[key] for key in ("module", "num_parameters", "num_tensors")} == {
        "module": "torch.nn.modules.container.Sequential",
        "num_parameters": 26,
        "num_tensors": 4,
    }
    assert str(described["parameters"]).startswith("sha256:")


def test_the_digest_is_of_names_shapes_and_dtypes() -> None:
    """Equal modules have equal digests; another name, shape or dtype changes the digest."""
    renamed = torch.nn.Sequential()
    for name, child in zip("ab", net().children(), strict=True):
        renamed.add_module(name, child)
    digests = [
        describe_module(module)["parameters"] for module in (net(), net(5), net().half(), renamed)
    ]
    assert (describe_module(net())["parameters"], len(set(digests))) == (digests[0], 4)


def test_the_order_of_parameters_does_not_matter() -> None:
    """Modules that register the same parameters in another order have the same digest."""
    one, other = torch.nn.Module(), torch.nn.Module()
    for name in ("a", "b"):
        one.register_parameter(name, torch.nn.Parameter(torch.zeros(2)))
    for name in ("b", "a"):
        other.register_parameter(name, torch.nn.Parameter(torch.zeros(2)))
    assert describe_module(one)["parameters"] == describe_module(other)["parameters"]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_compiled_module_is_the_module() -> None:
    """The parameter names of torch.compile do not change the digest."""
    assert (
        describe_module(torch.compile(net()))["parameters"] == describe_module(net())["parameters"]
    )


def test_lazy_parameters_have_no_shape_yet() -> None:
    """A lazy module can be described before its first batch."""
    described = describe_module(torch.nn.LazyLinear(3))
    assert (described["num_parameters"], described["num_tensors"]) == (0, 2)


def test_any_object_with_named_parameters_will_do() -> None:
    """Any object with `named_parameters` can be described like a module."""
    parameter = SimpleNamespace(shape=(2, 3), dtype="float32")
    described = describe_module(SimpleNamespace(named_parameters=lambda: [("w", parameter)]))
    assert (described["num_parameters"], described["num_tensors"]) == (6, 1)


def test_data_that_are_set_up_are_described_in_full() -> None:
    """Data are described by class path, number of training samples and one sample."""
    data = Data()
    data.setup("fit")
    assert describe_data(data) == {
        "data": f"{__name__}.Data",
        "num_samples": 10,
        "sample": "float32[1, 8, 8], int64[]",
    }


def test_data_that_are_not_set_up_are_their_class() -> None:
    """Data that are not set up are described by their class; `setup` is not called."""
    assert describe_data(Data()) == {"data": f"{__name__}.Data"}


def test_a_plain_data_set_is_described_directly() -> None:
    """A data set is described without a loader."""
    described = describe_data(Items((torch.zeros(3), 1), (torch.zeros(3), 1)))
    assert (described["num_samples"], described["sample"]) == (2, "float32[3], int")


def test_a_stream_has_no_length_and_no_sample() -> None:
    """A stream is described only by its class, and nothing is read from it."""

    class Stream(IterableDataset[int]):
        def __iter__(self) -> Any:
            raise AssertionError("the stream was read")

    assert list(describe_data(Stream())) == ["data"]


def test_an_empty_data_set_has_no_sample() -> None:
    """An empty data set is described by its length, without a sample."""
    assert describe_data(Items()) == {"data": f"{__name__}.Items", "num_samples": 0}


def test_a_sample_that_cannot_be_read_is_left_out() -> None:
    """If sample 0 cannot be read, the description has the length only."""
    assert describe_data({"a": 1})["num_samples"] == 1
    assert "sample" not in describe_data({"a": 1})


def test_several_loaders_are_their_class() -> None:
    """A data module with a list of loaders is described only by its class."""
    data = SimpleNamespace(train_dataloader=lambda: [DataLoader(Items(1))])
    assert describe_data(data) == {"data": "types.SimpleNamespace"}


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        ([torch.zeros(3, 8, 8)], "float32[3, 8, 8]"),
        ([(torch.zeros(1), 3)], "float32[1], int"),
        ([{"y": np.zeros(2, "int32"), "x": torch.zeros(4).half()}], "{x: float16[4], y: int32[2]}"),
        ([((1, 2.0), "text")], "(int, float), str"),
        ([{"a": (torch.zeros(2),)}], "{a: (float32[2])}"),
        ([(Image.new("RGB", (30, 20)), 1)], "image RGB[20, 30], int"),
        ([[1, 2, 3]], "int[3]"),
        ([[1, "a"]], "int, str"),
        ([[]], "()"),
        ([[[1, 2], [3, 4]]], "int[2, 2]"),
        ([[[1]] * 9 + [[2, 3]] * 9], "int[18, ?]"),
        ([[torch.zeros(3, 8, 8), torch.zeros(1, 8, 8)]], "float32[3, 8, 8], float32[1, 8, 8]"),
        ([[torch.zeros(2), torch.zeros(2)]], "float32[2, 2]"),
        ([None], "NoneType"),
        ([np.float32(1)], "float32[]"),
        ([torch.zeros(3, 8), torch.zeros(3, 9)], "float32[3, ?]"),
        ([torch.zeros(3, 8), torch.zeros(3)], "float32[?]"),
        ([{"ids": [1, 2]}, {"ids": [1, 2, 3]}], "{ids: int[?]}"),
        ([(1, 2), (1, 2, 3)], "?"),
        ([{"a": 1}, {"b": 1}], "?"),
        ([(1, "a"), (1.0, "a")], "?, str"),
    ],
)
def test_samples_in_words(samples: list[Any], text: str) -> None:
    """Arrays are described by dtype and shape, other values by type, differences by `?`."""
    assert describe_samples(samples) == text


def test_a_sample_that_holds_itself_comes_to_an_end() -> None:
    """A sample that holds itself is described to a limited depth."""
    sample: dict[str, Any] = {}
    sample["self"] = sample
    assert describe_samples([sample]).count("self") == 8


def test_lengths_that_vary_do_not_change_the_fingerprint() -> None:
    """If lengths vary, the order of the samples does not change the fingerprint."""
    short, long = torch.zeros(3), torch.zeros(5)
    one, other = describe_data(Items(short, long, short)), describe_data(Items(long, short, long))
    assert (one["sample"], fingerprint(one)) == ("float32[?]", fingerprint(other))


def test_random_states_are_kept() -> None:
    """Reading randomly augmented samples leaves all random states unchanged."""

    class Augmented(Items):
        def __getitem__(self, index: int) -> Any:
            number = random.random()  # noqa: S311 - the global generator
            return torch.rand(2), np.random.rand(2), number  # noqa: NPY002 - the global generator

    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global generator is what is kept
    expected = (torch.rand(1).item(), random.random(), np.random.rand())  # noqa: NPY002, S311
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert describe_data(Augmented(1, 2))["sample"] == "float32[2], float64[2], float"
    now = (torch.rand(1).item(), random.random(), np.random.rand())  # noqa: NPY002, S311
    assert now == expected


WORKLOAD: dict[str, Scalar] = {
    "module": "zoo.Net",
    "num_parameters": 26,
    "num_tensors": 4,
    "parameters": "sha256:p1",
    "data": "zoo.Data",
    "num_samples": 10,
    "sample": "float32[3]",
}


@pytest.mark.parametrize(
    ("key", "value", "hashed"),
    [
        ("module", "zoo.Renamed", False),
        ("parameters", "sha256:p2", True),
        ("data", "zoo.Other", True),
        ("num_samples", 11, True),
        ("sample", "float32[4]", True),
    ],
)
def test_what_the_fingerprint_covers(key: str, value: str | int, *, hashed: bool) -> None:
    """The fingerprint covers parameters, data class, length and sample, not the module's class."""
    assert (fingerprint(WORKLOAD | {key: value}) != fingerprint(WORKLOAD)) is hashed


def test_the_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    """Descriptions with their keys in another order have the same fingerprint."""
    assert fingerprint(dict(reversed(WORKLOAD.items()))) == fingerprint(WORKLOAD)


def test_the_fingerprint_stays_what_it_is() -> None:
    """The fingerprint of a workload never changes, because a change would make all locks stale."""
    assert (
        fingerprint(WORKLOAD)
        == "sha256:fbcccffc3db1ffe295549b5d0d7976e1bbea0bf69fc6a525febdb18042bf8d32"
    )
    assert (
        describe_module(net())["parameters"]
        == "sha256:a7d1012e0a5d145ffb3f2569c85686ad701d2168513e4a13009d152bcb817c1f"
    )


@pytest.mark.parametrize(
    ("changed", "changes"),
    [
        ({}, ()),
        ({"num_parameters": 30, "parameters": "x"}, ("num_parameters 26 -> 30",)),
        ({"parameters": "x"}, ("names, shapes or dtypes of the parameters",)),
        (
            {"sample": "float32[4]", "num_samples": 9},
            ("num_samples 10 -> 9", "sample float32[3] -> float32[4]"),
        ),
    ],
)
def test_changes_are_told_in_values(changed: dict[str, Scalar], changes: tuple[str, ...]) -> None:
    """Changes are listed with old and new values; a changed digest is listed in words."""
    assert workload_changes(WORKLOAD, WORKLOAD | changed) == changes


def test_torch_is_not_imported() -> None:
    """Describing data that need no torch does not import it."""
    code = (
        "import sys, harness.identity.fingerprint as f\n"
        "f.describe_data([1, 2]); f.fingerprint({})\n"
        "assert not {'torch', 'numpy', 'pydantic', 'pytest'} & {*sys.modules}"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
