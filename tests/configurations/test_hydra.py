"""Objects of a configuration are those that Hydra instantiates of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cli_zoo
import pytest
from hydra.core.global_hydra import GlobalHydra
from lightning.pytorch.callbacks import EarlyStopping
from projects import make_files

from harness.configurations import hydra_compose, hydra_instantiate
from harness.errors import HarnessError
from harness.workload import configured

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "configs/train.yaml": """\
defaults:
  - _self_
  - model: small
  - data: points
  - trainer: default
num_features: 12
paths: {root: "${oc.env:HOME}", output: "${hydra:runtime.output_dir}"}
""",
    "configs/model/small.yaml": """\
_target_: cli_zoo.Net
width: 16
num_features: ${num_features}
""",
    "configs/model/large.yaml": """\
_target_: cli_zoo.Net
width: 128
num_features: ${data.num_features}
""",
    "configs/data/points.yaml": """\
_target_: cli_zoo.Data
num_features: ${num_features}
batch_size: 32
""",
    "configs/trainer/default.yaml": """\
_target_: lightning.pytorch.Trainer
max_epochs: 3
accumulate_grad_batches: 2
default_root_dir: ${paths.output}
logger: {_target_: lightning.pytorch.loggers.WandbLogger, project: mine}
callbacks:
  - {_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: loss}
""",
    "configs/plain.yaml": """\
model: {width: 16}
trainer: {precision: bf16-mixed, epochs: 10}
optimizer: {_target_: torch.optim.Adam, _partial_: true, lr: 0.5}
run: {folder: "${hydra:runtime.output_dir}/x", where: /data/set, batch_size: 8}
""",
}
WHERE: dict[str, Any] = {"config_path": "configs", "config_name": "train"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a project with configurations; what was noted before is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    configured.begin()
    return make_files(tmp_path, FILES)


def test_defaults_and_interpolations_are_those_of_hydra() -> None:
    """The width is the group's, and the number of features the data's."""
    module = hydra_instantiate(key="model", **WHERE)
    data = hydra_instantiate(key="data", **WHERE)
    assert (16, 12) == (module.layers[0].out_features, module.layers[0].in_features)
    assert (cli_zoo.Data, 12) == (type(data), data.hparams.num_features)


def test_overrides_choose_groups_and_set_values() -> None:
    """In Hydra's own grammar."""
    module = hydra_instantiate(
        key="model", overrides=["model=large", "data.num_features=5", "+model.lr=0.5"], **WHERE
    )
    layer = module.layers[0]
    assert (128, 5, 0.5) == (layer.out_features, layer.in_features, module.lr)


def test_further_arguments_reach_the_target() -> None:
    """As a training gets its batch size."""
    data = hydra_instantiate(key="data", batch_size=7, **WHERE)
    assert 7 == data.batch_size


def test_partial_stays_one() -> None:
    """Such as an optimizer that waits for its parameters."""
    made = hydra_instantiate("plain", "optimizer", "configs")
    assert {"lr": 0.5} == made.keywords


def test_function_takes_the_configuration() -> None:
    """All of it or a part, for code that builds by itself."""
    assert {"width": 16} == hydra_compose("plain.yaml", "configs", key="model")
    assert 16 == hydra_compose("plain", "configs").model.width


def test_folder_of_the_run_can_be_asked_for() -> None:
    """It is one that the run removes."""
    assert hydra_compose("plain", "configs").run.folder.endswith("/x")


def test_global_state_is_left_clean() -> None:
    """Also where somebody has left it initialised."""
    hydra_compose("plain", "configs")
    hydra_compose("plain", "configs")
    assert not GlobalHydra.instance().is_initialized()


def test_section_of_the_trainer_is_taken() -> None:
    """Its callbacks are made, and its logger is only named."""
    hydra_instantiate(key="model", **WHERE)
    noted = configured.noted()
    [callback] = noted.trainer.pop("callbacks")
    assert isinstance(callback, EarlyStopping)
    assert {
        "max_epochs": 3,
        "accumulate_grad_batches": 2,
        "logger": {
            "class_path": "lightning.pytorch.loggers.WandbLogger",
            "init_args": {"project": "mine"},
        },
    } == noted.trainer
    assert [] == noted.notes


def test_section_without_a_target_is_taken() -> None:
    """As `Trainer(**cfg.trainer)` does; a keyword that is none of the Trainer's is named."""
    hydra_compose("plain", "configs", key="model")
    noted = configured.noted()
    assert {"precision": "bf16-mixed"} == noted.trainer
    [note] = noted.notes
    assert "`trainer` of configs/plain has epochs, which Lightning's Trainer does not" in note


def test_values_that_make_the_workload_are_described() -> None:
    """Those of the keys that are used; neither places nor what a probe sets."""
    hydra_compose("plain", "configs", key="run")
    hydra_instantiate(key="data", **WHERE)
    assert {
        "configuration.data._target_": "cli_zoo.Data",
        "configuration.data.num_features": 12,
        "configuration.trainer.precision": "bf16-mixed",
    } == configured.noted().described({}, (None, None))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config_name": "trian"}, "configs/trian: Hydra refuses this: Cannot find primary config"),
        (
            {"config_path": "config"},
            "config_path: config: there is no such .*did you mean configs",
        ),
        ({"key": "modle"}, "configs/train: there is no modle .*did you mean model"),
        ({"key": "num_features"}, "num_features has no _target_, .*hydra_compose"),
        ({"overrides": ["model=huge"]}, "configs/train model=huge: .*'model': large small"),
        ({"overrides": ["model.w=3"]}, r"configs/train model.w=3: .*use \+model.w=3"),
        ({"overrides": [r"+model.w=3"]}, "unexpected keyword argument 'w'"),
        ({"overrides": ["model.width"]}, "Error parsing override 'model.width'"),
        ({"overrides": {"model": "large"}}, "overrides: .* is not allowed; a text or a list"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    """What is wrong, where, and what to do."""
    with pytest.raises(HarnessError, match=message):
        hydra_instantiate(**{**WHERE, "key": "model", **arguments})


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the command that installs it."""
    monkeypatch.setattr("harness.configurations.files.find_spec", lambda _name: None)
    with pytest.raises(HarnessError, match=r"pip install 'pytest-gpu-profile\[hydra\]'"):
        hydra_compose("plain", "configs")
