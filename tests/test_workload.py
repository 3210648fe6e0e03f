"""From class paths to modules and data: LightningCLI's convention, and plain models and data sets wrapped."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import IterableDataset

from harness.errors import HarnessError
from harness.workload import SyntheticImages, SyntheticTokens, Workload, build, instantiate, locate

import zoo
from support import workload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Lightning warns of what a test does on purpose: few workers, no logger, short loaders.
pytestmark = pytest.mark.filterwarnings("ignore")


def train(built: Workload, steps: int = 2, batch_size: int = 4) -> Any:
    """Train with nothing but Lightning, as a user would; returns the Trainer."""
    built.datamodule.batch_size = batch_size
    trainer = built.lightning.Trainer(
        accelerator="cpu", max_steps=steps, limit_val_batches=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(built.module, datamodule=built.datamodule)
    return trainer


def here(name: str) -> str:
    """Return the class path of something in this file."""
    return f"{__name__}.{name}"


def record(**arguments: Any) -> dict[str, Any]:
    """Return the arguments: what nested specs became."""
    return arguments


class Keywords(zoo.PlainData):
    """Samples as keyword arguments, without labels."""

    def __getitem__(self, index: int) -> Any:
        return {"inputs": super().__getitem__(index)[0]}


class TakesKeywords(torch.nn.Linear):
    """Computes no loss."""

    def __init__(self) -> None:
        super().__init__(16, 2)

    def forward(self, inputs: torch.Tensor) -> Any:  # noqa: D102 - torch documents it
        return {"logits": super().forward(inputs)}


class Output:
    """What models of transformers return: not a tensor."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


class GivesOutput(zoo.PlainModel):
    """Returns an object with logits."""

    def forward(self, inputs: torch.Tensor) -> Any:  # noqa: D102 - torch documents it
        return Output(super().forward(inputs))  # type: ignore[no-untyped-call] # torch leaves Sequential.forward untyped


class Stream(IterableDataset[Any]):
    """Endless pairs without a length."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield torch.ones(16), torch.tensor(1)


class Head(torch.nn.Module):
    """A loss with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # noqa: D102 - torch documents it
        return torch.nn.functional.cross_entropy(self.layer(outputs), target)


def test_class_path_may_name_any_callable() -> None:
    """A function, a class, and a method of a class are located; the longest importable prefix is the module."""
    assert [zoo.scale, zoo.Net, torch.nn.Linear.forward] == [
        locate(path) for path in ("zoo.scale", "zoo.Net", "torch.nn.Linear.forward")
    ]


def test_nested_specs_are_built_inside_out() -> None:
    """A mapping of class_path and init_args becomes an object before what holds it is called, at any depth."""
    inner = {"class_path": "zoo.scale", "init_args": {"value": 3.0}}
    outer = {"class_path": "zoo.scale", "init_args": {"value": inner, "by": 10.0}}
    built = instantiate({"class_path": here("record"), "init_args": {"value": outer, "in": {"deep": inner}}})
    assert {"value": 60.0, "in": {"deep": 6.0}} == built


def test_lists_of_specs_are_built() -> None:
    """In a list each spec is built, in order, beside plain values; missing init_args are none."""
    specs = [{"class_path": "zoo.PlainModel"}, 7, {"class_path": "zoo.scale", "init_args": {"value": 1}}]
    built = instantiate({"class_path": here("record"), "init_args": {"items": specs}})["items"]
    assert (zoo.PlainModel, 7, 2.0) == (type(built[0]), built[1], built[2])


def test_mapping_with_other_keys_is_no_spec() -> None:
    """A mapping that merely has a key of that name stays a mapping."""
    value = {"class_path": "zoo.scale", "other": 1}
    assert {"value": value} == instantiate({"class_path": here("record"), "init_args": {"value": value}})


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("nowhere.at.All", "cannot import nowhere.at.All: no module named 'nowhere'"),
        ("zoo.Missing", "cannot import zoo.Missing: zoo has no 'Missing'"),
        ("torch.nn.Missing.forward", "torch.nn has no 'Missing'"),
        ("zoo.Net.missing", "zoo has no 'missing'"),
    ],
)
def test_unimportable_path_says_what_is_missing(class_path: str, message: str) -> None:
    """The error names the path and the part of it that does not exist."""
    with pytest.raises(HarnessError, match=message):
        locate(class_path)


def test_module_that_misses_a_dependency_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that exists and cannot be imported is not called missing: its own error passes through."""
    (tmp_path / "needy.py").write_text("import a_dependency_of_needy\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_dependency_of_needy"):
        locate("needy.Net")
    assert "needy" not in sys.modules


def test_lightning_workload_is_taken_as_it_is() -> None:
    """A LightningModule and its data module are not wrapped."""
    built = build(workload("zoo.Net", module_args={"width": 8}))
    assert (zoo.Net, zoo.Numbers) == (type(built.module), type(built.datamodule))
    assert (True, "lightning.pytorch") == (built.module is built.user_module, built.lightning.__name__)


def test_older_package_is_used_for_its_own_modules() -> None:
    """A module of `pytorch_lightning` is trained by that package, also when only the data come from it."""
    whole = build(workload("zoo.OlderPackageNet", "zoo.OlderPackageNumbers"))
    plain = build(workload("zoo.PlainModel", "zoo.OlderPackageNumbers"))
    names = [built.lightning.__name__ for built in (whole, plain)]
    assert ["pytorch_lightning"] * 2 == names
    assert isinstance(plain.module, plain.lightning.LightningModule)


@pytest.mark.parametrize(
    ("module", "data", "package"),
    [
        ("zoo.OlderPackageNet", "zoo.Numbers", "pytorch_lightning"),
        ("zoo.Net", "zoo.OlderPackageNumbers", "lightning.pytorch"),
    ],
)
def test_mixed_packages_are_refused(module: str, data: str, package: str) -> None:
    """Data of the other package are refused, naming the module's package."""
    with pytest.raises(HarnessError, match=rf"a LightningDataModule of {package} \(the module's package\)"):
        build(workload(module, data))


@pytest.mark.parametrize("key", ["loss", "optimizer"])
def test_lightning_module_keeps_its_own_training(key: str) -> None:
    """A loss or an optimizer beside a LightningModule is refused."""
    more: dict[str, Any] = {key: {"class_path": "torch.nn.CrossEntropyLoss"}}
    with pytest.raises(HarnessError, match=r"zoo\.Net is a LightningModule, .*remove `loss` and `optimizer`"):
        build(workload("zoo.Net", **more))


def test_what_is_no_module_is_refused() -> None:
    """A class path that gives no nn.Module is an error that says what it gave."""
    with pytest.raises(HarnessError, match=r"module zoo\.scale gave an object of type builtins\.float"):
        build(workload("zoo.scale", module_args={"value": 1.0}))


def test_what_is_no_data_is_refused() -> None:
    """Data that are neither a data module nor a data set are an error that says what is needed."""
    with pytest.raises(HarnessError, match=r"data zoo\.PlainModel gave .* or a torch Dataset is needed"):
        build(workload("zoo.Net", "zoo.PlainModel"))


def test_plain_model_needs_data() -> None:
    """A model that brings no loaders is refused without data."""
    with pytest.raises(HarnessError, match=r"zoo\.PlainModel is no LightningModule, .*give the model `data`"):
        build(workload("zoo.PlainModel", None))


def test_plain_model_and_data_train() -> None:
    """They are wrapped: AdamW at 1e-3 and cross-entropy by default, all parameters move, batches are as asked."""
    built = build(workload("zoo.PlainModel", "zoo.PlainData"))
    before = [parameter.detach().clone() for parameter in built.user_module.parameters()]
    trainer = train(built, batch_size=5)
    optimizer = trainer.optimizers[0]
    assert (torch.optim.AdamW, 1e-3) == (type(optimizer), optimizer.param_groups[0]["lr"])
    assert isinstance(built.module.loss, torch.nn.CrossEntropyLoss)
    moved = [
        not torch.equal(old, new) for old, new in zip(before, built.user_module.parameters(), strict=True)
    ]
    assert [True] * 4 == moved
    assert [5, 5] == [
        len(next(iter(loader))[0]) for loader in (trainer.train_dataloader, trainer.val_dataloaders)
    ]


def test_loss_and_optimizer_are_chosen() -> None:
    """Those beside the module replace the defaults, the loss's own parameters are trained as well."""
    built = build(
        workload(
            "zoo.PlainModel",
            "zoo.PlainData",
            loss={"class_path": here("Head")},
            optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5, "momentum": 0.9}},
        )
    )
    before = built.module.loss.layer.weight.detach().clone()
    optimizer = train(built).optimizers[0]
    assert (torch.optim.SGD, 0.5, 0.9) == (
        type(optimizer),
        *(optimizer.param_groups[0][name] for name in ("lr", "momentum")),
    )
    assert not torch.equal(before, built.module.loss.layer.weight)


def test_pretrained_model_is_put_into_training_mode() -> None:
    """A model that arrives in evaluation mode is trained with dropout on."""
    assert build(workload(here("evaluating_model"), "zoo.PlainData")).user_module.training


def evaluating_model() -> torch.nn.Module:
    """Give a model as `from_pretrained` does."""
    return zoo.PlainModel().eval()


def test_output_with_logits_is_understood() -> None:
    """Pairs go through a model that returns an object with `logits`, and the loss is on those."""
    built = build(workload(here("GivesOutput"), "zoo.PlainData"))
    images, labels = next(iter(built.datamodule.train_dataloader()))
    expected = torch.nn.functional.cross_entropy(built.user_module(images).logits, labels)
    assert expected.item() == built.module.training_step((images, labels), 0).item()


def test_stream_of_samples_trains() -> None:
    """An iterable data set, which cannot be shuffled, is wrapped as well."""
    built = build(workload("zoo.PlainModel", here("Stream")))
    assert 2 == train(built).global_step


def test_keywords_without_a_loss_are_refused() -> None:
    """A batch of keyword arguments needs a model that computes the loss; the error says which keywords and why."""
    built = build(workload(here("TakesKeywords"), here("Keywords")))
    with pytest.raises(
        HarnessError, match=r"TakesKeywords was given .*\['inputs'\] and returned no `loss`: add labels"
    ):
        train(built)


def test_transformer_built_from_its_config_trains() -> None:
    """A model of transformers, from a nested config, trains on tokens with its own loss."""
    sizes = {"vocab_size": 11, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2, "bos_token_id": 0}
    config = {"class_path": "transformers.GPT2Config", "init_args": {**sizes, "eos_token_id": 0}}
    built = build(
        workload(
            "transformers.GPT2LMHeadModel",
            "harness.workload.SyntheticTokens",
            module_args={"config": config},
            data_args={"length": 8, "vocab_size": 11, "num_samples": 16},
        )
    )
    assert (2, True) == (train(built).global_step, built.synthetic)


def test_real_data_are_not_synthetic() -> None:
    """Only data that say so are synthetic."""
    assert not build(workload("zoo.PlainModel", "zoo.PlainData")).synthetic


def test_synthetic_images_have_the_shape_asked_for() -> None:
    """float32 of [channels, resolution, resolution], and classes that stay below their number."""
    data = SyntheticImages(8, num_classes=3, channels=1, num_samples=7)
    assert ((1, 8, 8), torch.float32) == (tuple(data[0][0].shape), data[0][0].dtype)
    assert ([0, 1, 2, 0, 1, 2, 0], 7) == ([data[index][1] for index in range(7)], len(data))


def test_synthetic_tokens_have_the_length_asked_for() -> None:
    """int64 ids below the vocabulary's size; labels are a copy of their own."""
    sample = SyntheticTokens(5, vocab_size=2)[3]
    assert ((5,), torch.int64) == (tuple(sample["input_ids"].shape), sample["input_ids"].dtype)
    assert int(sample["input_ids"].max()) < 2
    assert torch.equal(sample["input_ids"], sample["labels"])
    assert sample["input_ids"].data_ptr() != sample["labels"].data_ptr()


@pytest.mark.parametrize("data", [SyntheticImages(4), SyntheticTokens(16, 1000)], ids=["images", "tokens"])
def test_synthetic_samples_depend_on_their_index_alone(data: Any) -> None:
    """A sample is the same each time and after pickling, another index gives another, no random state is used."""

    def content(source: Any, index: int) -> list[float]:
        sample = source[index]
        tensor: torch.Tensor = sample["input_ids"] if isinstance(sample, dict) else sample[0]
        return tensor.flatten().tolist()

    before = torch.random.get_rng_state()
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301 - its own pickle
    assert content(data, 5) == content(data, 5) == content(copy, 5)
    assert content(data, 5) != content(data, 6)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("data", [SyntheticImages(4, num_samples=3), SyntheticTokens(4, 9, num_samples=3)])
@pytest.mark.parametrize("index", [3, -1])
def test_synthetic_data_end(data: Any, index: int) -> None:
    """Beyond either end is an IndexError, which is what ends a plain loop over the data."""
    with pytest.raises(IndexError):
        data[index]
