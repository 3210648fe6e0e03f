"""Modules and data are built from class paths; plain models and data sets are wrapped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
import zoo
from projects import workload
from torch.utils.data import IterableDataset

from harness.errors import HarnessError
from harness.workload.build import Workload, build, instantiate, locate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Lightning warns about few workers, no logger and short loaders, which are on purpose here.
pytestmark = pytest.mark.filterwarnings("ignore")


def train(built: Workload, steps: int = 2, batch_size: int = 4) -> Any:
    """Train with Lightning alone, as a user does, and return the Trainer."""
    built.datamodule.batch_size = batch_size
    trainer = built.lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(built.module, datamodule=built.datamodule)
    return trainer


def here(name: str) -> str:
    """Return the class path of an object in this file."""
    return f"{__name__}.{name}"


def record(**arguments: Any) -> dict[str, Any]:
    """Return the arguments, with the objects of nested specs."""
    return arguments


class Keywords(zoo.PlainData):
    """Gives samples as keyword arguments, without labels."""

    def __getitem__(self, index: int) -> Any:
        return {"inputs": super().__getitem__(index)[0]}


class TakesKeywords(torch.nn.Linear):
    """Takes keyword arguments and computes no loss."""

    def __init__(self) -> None:
        super().__init__(16, 2)

    def forward(self, inputs: torch.Tensor) -> Any:  # noqa: D102 - torch documents it
        return {"logits": super().forward(inputs)}


class Output:
    """An output as models of transformers return it: an object that is no tensor."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


class GivesOutput(zoo.PlainModel):
    """Returns an object with logits."""

    def forward(self, inputs: torch.Tensor) -> Any:  # noqa: D102 - torch documents it
        return Output(super().forward(inputs))  # type: ignore[no-untyped-call] # untyped in torch


class Stream(IterableDataset[Any]):
    """Gives pairs without end, and has no length."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield torch.ones(16), torch.tensor(1)


class Head(torch.nn.Module):
    """A loss with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of the layer's outputs."""
        return torch.nn.functional.cross_entropy(self.layer(outputs), target)


def test_class_path_may_name_any_callable() -> None:
    """A class path may name a function, a class, or a method of a class."""
    assert [zoo.scale, zoo.Net, torch.nn.Linear.forward] == [
        locate(path) for path in ("zoo.scale", "zoo.Net", "torch.nn.Linear.forward")
    ]


def test_nested_specs_are_built_inside_out() -> None:
    """A nested spec, at any depth, becomes an object before the outer one is built."""
    inner = {"class_path": "zoo.scale", "init_args": {"value": 3.0}}
    outer = {"class_path": "zoo.scale", "init_args": {"value": inner, "by": 10.0}}
    built = instantiate(
        {"class_path": here("record"), "init_args": {"value": outer, "in": {"deep": inner}}}
    )
    assert {"value": 60.0, "in": {"deep": 6.0}} == built


def test_lists_of_specs_are_built() -> None:
    """Each spec in a list is built, beside plain values, with or without init_args."""
    specs = [
        {"class_path": "zoo.PlainModel"},
        7,
        {"class_path": "zoo.scale", "init_args": {"value": 1}},
    ]
    built = instantiate({"class_path": here("record"), "init_args": {"items": specs}})["items"]
    assert (zoo.PlainModel, 7, 2.0) == (type(built[0]), built[1], built[2])


def test_mapping_with_other_keys_is_no_spec() -> None:
    """A mapping with `class_path` and other keys stays a mapping."""
    value = {"class_path": "zoo.scale", "other": 1}
    assert {"value": value} == instantiate(
        {"class_path": here("record"), "init_args": {"value": value}}
    )


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


def test_module_that_misses_a_dependency_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a module that exists and cannot be imported passes through."""
    (tmp_path / "needy.py").write_text("import a_dependency_of_needy\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_dependency_of_needy"):
        locate("needy.Net")
    assert "needy" not in sys.modules


def test_lightning_workload_is_taken_as_it_is() -> None:
    """A LightningModule and its data module are not wrapped."""
    built = build(workload("zoo.Net", module_args={"width": 8}))
    assert (zoo.Net, zoo.Numbers) == (type(built.module), type(built.datamodule))
    assert (True, "lightning.pytorch") == (
        built.module is built.user_module,
        built.lightning.__name__,
    )


def test_older_package_is_used_for_its_own_modules() -> None:
    """If the module or only the data come from `pytorch_lightning`, that package trains them."""
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
    """Data of the other package are refused, and the error names the module's package."""
    with pytest.raises(
        HarnessError, match=rf"a LightningDataModule of {package} \(the module's package\)"
    ):
        build(workload(module, data))


@pytest.mark.parametrize("key", ["loss", "optimizer"])
def test_lightning_module_keeps_its_own_training(key: str) -> None:
    """A loss or an optimizer beside a LightningModule is refused."""
    more: dict[str, Any] = {key: {"class_path": "torch.nn.CrossEntropyLoss"}}
    with pytest.raises(
        HarnessError, match=r"zoo\.Net is a LightningModule, .*remove `loss` and `optimizer`"
    ):
        build(workload("zoo.Net", **more))


def test_what_is_no_module_is_refused() -> None:
    """The error about a class path that gives no nn.Module names the type that it gave."""
    with pytest.raises(
        HarnessError, match=r"module zoo\.scale gave an object of type builtins\.float"
    ):
        build(workload("zoo.scale", module_args={"value": 1.0}))


def test_what_is_no_data_is_refused() -> None:
    """The error about data of another type names the types that are allowed."""
    with pytest.raises(HarnessError, match=r"data zoo\.PlainModel gave .* or a data set is needed"):
        build(workload("zoo.Net", "zoo.PlainModel"))


def test_plain_model_needs_data() -> None:
    """A plain model without data is refused, because it has no loaders."""
    with pytest.raises(
        HarnessError, match=r"zoo\.PlainModel is no LightningModule, .*give the model `data`"
    ):
        build(workload("zoo.PlainModel", None))


def test_plain_model_and_data_train() -> None:
    """A plain model and data train with AdamW at 1e-3, cross-entropy and the batch size set."""
    built = build(workload("zoo.PlainModel", "zoo.PlainData"))
    before = [parameter.detach().clone() for parameter in built.user_module.parameters()]
    trainer = train(built, batch_size=5)
    optimizer = trainer.optimizers[0]
    assert (torch.optim.AdamW, 1e-3) == (type(optimizer), optimizer.param_groups[0]["lr"])
    assert isinstance(built.module.loss, torch.nn.CrossEntropyLoss)
    moved = [
        not torch.equal(old, new)
        for old, new in zip(before, built.user_module.parameters(), strict=True)
    ]
    assert [True] * 4 == moved
    assert [5, 5] == [
        len(next(iter(loader))[0]) for loader in (trainer.train_dataloader, trainer.val_dataloaders)
    ]


def test_loss_and_optimizer_are_chosen() -> None:
    """The matrix's loss and optimizer replace the defaults, and the loss's parameters train."""
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
    """A model that arrives in evaluation mode is put into training mode."""
    assert build(workload(here("evaluating_model"), "zoo.PlainData")).user_module.training


def evaluating_model() -> torch.nn.Module:
    """Return a model in evaluation mode, as `from_pretrained` does."""
    return zoo.PlainModel().eval()


def test_output_with_logits_is_understood() -> None:
    """If a model returns an object with `logits`, the loss is computed from those."""
    built = build(workload(here("GivesOutput"), "zoo.PlainData"))
    images, labels = next(iter(built.datamodule.train_dataloader()))
    expected = torch.nn.functional.cross_entropy(built.user_module(images).logits, labels)
    assert expected.item() == built.module.training_step((images, labels), 0).item()


def test_stream_of_samples_trains() -> None:
    """An iterable data set, which cannot be shuffled, trains too."""
    built = build(workload("zoo.PlainModel", here("Stream")))
    assert 2 == train(built).global_step


def test_keywords_without_a_loss_are_refused() -> None:
    """A model without a loss of its own is refused for keyword arguments, which the error names."""
    built = build(workload(here("TakesKeywords"), here("Keywords")))
    with pytest.raises(
        HarnessError,
        match=r"TakesKeywords was given .*\['inputs'\] and returned no `loss`: add labels",
    ):
        train(built)


def test_transformer_built_from_its_config_trains() -> None:
    """A model of transformers with a nested config trains on tokens with its own loss."""
    sizes = {
        "vocab_size": 11,
        "n_positions": 8,
        "n_embd": 8,
        "n_layer": 1,
        "n_head": 2,
        "bos_token_id": 0,
    }
    config = {"class_path": "transformers.GPT2Config", "init_args": {**sizes, "eos_token_id": 0}}
    built = build(
        workload(
            "transformers.GPT2LMHeadModel",
            "harness.synthetic.SyntheticTokens",
            module_args={"config": config},
            data_args={"length": 8, "vocab_size": 11, "num_samples": 16},
        )
    )
    assert (2, True) == (train(built).global_step, built.synthetic)


def test_real_data_are_not_synthetic() -> None:
    """Data are synthetic only if they have the attribute `synthetic`."""
    assert not build(workload("zoo.PlainModel", "zoo.PlainData")).synthetic
