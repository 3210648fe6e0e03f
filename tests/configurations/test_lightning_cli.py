"""Module and data of a configuration are those that the user's LightningCLI makes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import cli_zoo
import pytest
import torch
from lightning.pytorch.cli import LightningCLI
from projects import WORKLOADS, make_files

from harness.configurations import lightning_cli
from harness.errors import HarnessError
from harness.workload import configured

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    # The CLI says so where the configuration has an optimizer, and is right.
    pytest.mark.filterwarnings("ignore:.*configure_optimizers` will be overridden"),
    # Lightning calls jsonargparse in older ways.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
]

TRAIN = """\
seed_everything: 7
model: {width: 16}
data: {num_features: 12}
trainer: {max_epochs: 3}
"""
ADAM = """\
optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.25, weight_decay: 0.5}}
lr_scheduler: {class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 2}}
"""
NAMED = """\
model: {class_path: cli_zoo.Net, init_args: {width: 24}}
data: {class_path: cli_zoo.Data}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a project with configurations; what was noted before is forgotten."""
    monkeypatch.chdir(tmp_path)
    configured.begin()
    files = {"train.yaml": TRAIN, "adam.yaml": ADAM, "named.yaml": NAMED}
    files["defaults.yaml"] = "model: {width: 40}\n"
    files["fit.yaml"] = "fit:\n  seed_everything: 1\n  model: {width: 48}\n"
    return make_files(tmp_path, files)


def width_of(module: Any) -> int:
    """Return the width of a network of the zoo."""
    return int(module.layers[0].out_features)


@pytest.mark.parametrize(
    "cli", ["cli_zoo.main", "cli_zoo", "cli_zoo.Cli", "cli_zoo.without_subcommands"]
)
def test_scripts_are_run_until_their_cli_is_made(cli: str) -> None:
    """A function, a script below `if __name__ ...`, a subclass, and a CLI without subcommands."""
    module, data = lightning_cli("train.yaml", cli)
    assert (cli_zoo.Net, cli_zoo.Data) == (type(module), type(data))
    assert (16, 12) == (width_of(module), module.layers[0].in_features)


def test_script_is_named_by_its_path(folder: Path) -> None:
    """It is imported by its own name, so that its classes can be found again."""
    shutil.copy(WORKLOADS / "cli_zoo.py", folder / "copied_script.py")
    module, _ = lightning_cli("train.yaml", "copied_script.py")
    assert ("copied_script", 16) == (type(module).__module__, width_of(module))


UNGUARDED = """\
import pytorch_lightning as pl
from pytorch_lightning.cli import LightningCLI


class Small(pl.LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.width = width


cli = LightningCLI(Small, subclass_mode_model=True, run=False)
raise AssertionError("the script goes on")
"""
SUBCLASS = """\
model: {class_path: unguarded_script.Small, init_args: {width: 9}}
trainer: {callbacks: {class_path: pytorch_lightning.callbacks.EarlyStopping, init_args: {monitor: x}}}
"""


def test_script_without_a_function_is_left_in_its_import(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its CLI may be that of the other package; nothing runs it a second time."""
    make_files(folder, {"unguarded_script.py": UNGUARDED, "subclass.yaml": SUBCLASS})
    monkeypatch.syspath_prepend(folder)
    module, data = lightning_cli("subclass.yaml", "unguarded_script")
    assert ("unguarded_script", 9, None) == (type(module).__module__, module.width, data)
    [callback] = configured.noted().trainer["callbacks"]
    assert "pytorch_lightning.callbacks.early_stopping" == type(callback).__module__


def test_configuration_that_names_its_classes_needs_no_script() -> None:
    """Lightning's own CLI takes any module and any data module."""
    module, data = lightning_cli("named.yaml")
    assert (cli_zoo.Net, 24, cli_zoo.Data) == (type(module), width_of(module), type(data))


def test_later_files_and_overrides_go_first() -> None:
    """As on the command line, with dashes or without."""
    module, data = lightning_cli(
        ["train.yaml", "adam.yaml"], "cli_zoo.main", ["model.width=8", "--data.num_features=5"]
    )
    assert (8, 5, 5) == (width_of(module), module.layers[0].in_features, data.hparams.num_features)


def test_files_that_the_script_knows_are_read() -> None:
    """`default_config_files` of the subcommand `fit` hold where no file is given."""
    module, _ = lightning_cli(cli="cli_zoo.with_defaults")
    assert 40 == width_of(module)


def test_file_for_all_subcommands_is_taken() -> None:
    """It has a section `fit`."""
    module, _ = lightning_cli("fit.yaml", "cli_zoo.main")
    assert 48 == width_of(module)


def test_optimizer_of_the_configuration_trains() -> None:
    """Also its schedule, in place of the module's own."""
    module, _ = lightning_cli(["train.yaml", "adam.yaml"], "cli_zoo.main")
    [optimizer], [schedule] = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert (0.25, 0.5) == (optimizer.defaults["lr"], optimizer.defaults["weight_decay"])
    assert isinstance(schedule, torch.optim.lr_scheduler.StepLR)
    assert {id(one) for one in module.parameters()} == {
        id(one) for one in optimizer.param_groups[0]["params"]
    }


def test_seed_is_that_of_the_probe() -> None:
    """The CLI hands its seed to what is linked to it, and sets none."""
    torch.manual_seed(3)
    first, data = lightning_cli("train.yaml", "cli_zoo.main")
    torch.manual_seed(4)
    second, _ = lightning_cli("train.yaml", "cli_zoo.main")
    assert 7 == data.hparams.seed
    assert not torch.equal(first.layers[0].weight, second.layers[0].weight)


def test_hook_behind_the_classes_runs() -> None:
    """It finds a Trainer, and what it changes is trained."""
    module, _ = lightning_cli("train.yaml", "cli_zoo.Late")
    assert 1 == module.late


def test_lightning_cli_is_left_as_it_was() -> None:
    """A script that runs afterwards trains."""
    before = dict(vars(LightningCLI))
    lightning_cli("train.yaml", "cli_zoo.main")
    assert before == dict(vars(LightningCLI))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"config": "trian.yaml", "cli": "cli_zoo.main"},
            "config: trian.yaml: there is no such file .*did you mean train.yaml",
        ),
        (
            {"config": "train.yaml", "cli": "cli_zoo.main", "overrides": ["model.wdth=3"]},
            "cli_zoo.main train.yaml --model.wdth=3: LightningCLI refuses this: .*model.wdth",
        ),
        (
            {"cli": "cli_zoo.main", "overrides": ["model.width=wide"]},
            "LightningCLI refuses this: .*model.width.*int.*wide",
        ),
        ({"config": "train.yaml"}, "where your script makes a CLI of its own, name it: cli: train"),
        ({"cli": "cli_zoo.nothing"}, "cli_zoo.nothing makes no LightningCLI; name the function"),
        ({"cli": "cli_zoo.mian"}, "cannot import cli_zoo.mian: cli_zoo has no 'mian'"),
        ({"cli": "nowhere.py"}, r"nowhere.py: there is no such file in .*; name the script"),
        (
            {"cli": "cli_zoo.main", "overrides": {"model.width": 3}},
            "overrides: .* is not allowed; a text or a list of texts",
        ),
        ({"cli": "cli_zoo.main", "config": 3}, "config: 3 is not allowed"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    """What is wrong, where, and what to do; no parser ends the process."""
    with pytest.raises(HarnessError, match=message):
        lightning_cli(**arguments)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the command that installs it."""
    monkeypatch.setattr("harness.configurations.files.find_spec", lambda _name: None)
    with pytest.raises(HarnessError, match=r"pip install 'pytest-gpu-profile\[lightning-cli\]'"):
        lightning_cli("train.yaml", "cli_zoo.main")


def described(*overrides: str) -> dict[str, Any]:
    """Return what the description of a workload has of a configuration."""
    configured.begin()
    lightning_cli(["train.yaml", "adam.yaml"], "cli_zoo.main", overrides)
    return configured.noted().described({}, (None, None))


def test_values_that_make_the_workload_are_described() -> None:
    """Neither batch size, learning rate, seed nor length, nor defaults of a library's classes."""
    assert {
        "configuration.model.width": 16,
        "configuration.model.num_features": 12,
        "configuration.data.num_features": 12,
        "configuration.optimizer.class_path": "torch.optim.Adam",
        "configuration.optimizer.init_args.weight_decay": "0.5",
        "configuration.lr_scheduler.class_path": "torch.optim.lr_scheduler.StepLR",
        "configuration.lr_scheduler.init_args.step_size": 2,
    } == described()


@pytest.mark.parametrize(
    "override", ["data.batch_size=9", "model.lr=3", "trainer.max_epochs=8", "seed_everything=3"]
)
def test_tuned_values_leave_the_description_as_it_is(override: str) -> None:
    """A person may write them into the configuration."""
    assert described() == described(override)


def test_settings_of_the_trainer_are_described() -> None:
    """Those that a probe trains with."""
    assert {"configuration.trainer.accumulate_grad_batches": 4} == {
        name: value
        for name, value in described("trainer.accumulate_grad_batches=4").items()
        if "trainer" in name
    }
