"""The callback that applies a locked profile: in fits that begin anew, and in nothing else."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import torch
from measurements import locked
from torch.utils.data import DataLoader, TensorDataset

import harness
from harness.errors import HarnessError
from harness.identity.fingerprint import describe_data, describe_module

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lockfile.profiles import LockedProfile

PACKAGES = ["lightning.pytorch", "pytorch_lightning"]


class Training:
    """A module, data and a Trainer of one Lightning package, and what the training used."""

    def __init__(self, package: str, folder: Path, batch_size: int = 1) -> None:
        self.lightning: Any = import_module(package)
        self.folder = folder
        self.rates: list[float] = []
        self.sizes: list[int] = []
        self.data = self._data()
        self.module = self._module()
        self.data.batch_size = batch_size

    def _data(self) -> Any:
        class Data(self.lightning.LightningDataModule):  # type: ignore[misc, name-defined] # chosen above
            batch_size: int

            def train_dataloader(self) -> DataLoader[Any]:
                samples = TensorDataset(torch.zeros(12, 3))
                return DataLoader(samples, batch_size=self.batch_size)

        return Data()

    def _module(self) -> Any:
        training = self

        class Net(self.lightning.LightningModule):  # type: ignore[misc, name-defined] # chosen above
            def __init__(self) -> None:
                super().__init__()
                self.lr = 0.5
                self.layer = torch.nn.Linear(3, 1)

            def training_step(self, batch: Any, _index: int) -> Any:
                training.sizes.append(len(batch[0]))
                training.rates.append(self.optimizers().param_groups[0]["lr"])
                return self.layer(batch[0]).sum()

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), lr=self.lr)

        return Net()

    def profile(self) -> LockedProfile:
        """Return the locked profile of the workload, at batch 4."""
        return locked(
            workload=describe_module(self.module) | describe_data(self.data),
            batch_size=4,
            validation_batch_size=None,
            learning_rate=0.25,
        )

    def trainer(self, callbacks: Any, *, logger: Any = False, **settings: Any) -> Any:
        """Return a Trainer of one epoch."""
        return self.lightning.Trainer(
            max_epochs=settings.pop("max_epochs", 1),
            accelerator="cpu",
            logger=logger,
            callbacks=callbacks,
            default_root_dir=self.folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            log_every_n_steps=1,
            **settings,
        )


pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's: few workers, no validation


@pytest.mark.parametrize("package", PACKAGES)
def test_fit_begins_with_the_locked_values(
    package: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Loaders and optimizers are made with the profile's values, and the log says whose they are.

    The callback stands alone, not in a list: the Trainer takes that only from its own package.
    """
    training = Training(package, tmp_path)
    callback = harness.profile_callback(training.profile())
    with caplog.at_level(logging.INFO, "harness"):
        training.trainer(callback).fit(training.module, training.data)
    assert ([4, 4, 4], [0.25, 0.25, 0.25]) == (training.sizes, training.rates)
    said = (
        "training with case resnet18-h200-224, batch_size 4, learning_rate 0.25, "
        "device NVIDIA H200, source measured, recipe sha256:r1"
    )
    assert [said] == [one.getMessage() for one in caplog.records if one.name == "harness"]


def test_loggers_get_the_values_and_where_they_came_from(tmp_path: Path) -> None:
    """The hyperparameters of a run hold the case, the values, the device and the recipe."""
    training = Training("lightning.pytorch", tmp_path)
    logger = import_module("lightning.pytorch.loggers").CSVLogger(tmp_path)
    callback = harness.profile_callback(training.profile())
    training.trainer([callback], logger=logger).fit(training.module, training.data)
    assert {
        "gpu_profile/case": "resnet18-h200-224",
        "gpu_profile/batch_size": 4,
        "gpu_profile/learning_rate": 0.25,
        "gpu_profile/device": "NVIDIA H200",
        "gpu_profile/source": "measured",
        "gpu_profile/recipe": "sha256:r1",
    } == logger.experiment.hparams


def checkpoint_of(training: Training, callbacks: list[Any]) -> Path:
    """Train an epoch, and return its checkpoint."""
    trainer = training.trainer(callbacks)
    trainer.fit(training.module, training.data)
    path = training.folder / "last.ckpt"
    trainer.save_checkpoint(path)
    return path


@pytest.mark.parametrize("package", PACKAGES)
def test_lock_is_never_applied_to_a_resumed_training(
    package: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A training that began without the callback keeps its own values, and the log says so."""
    checkpoint = checkpoint_of(Training(package, tmp_path, batch_size=6), [])
    second = Training(package, tmp_path, batch_size=6)
    callback = harness.profile_callback(second.profile())
    with caplog.at_level(logging.INFO, "harness"):
        second.trainer([callback], max_epochs=2).fit(
            second.module, second.data, ckpt_path=checkpoint
        )
    assert ([6, 6], [0.5, 0.5], 0.5) == (second.sizes, second.rates, second.module.lr)
    assert (
        f"resnet18-h200-224 is not applied: the training resumes from {checkpoint}" in caplog.text
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_resumed_training_has_the_values_it_began_with(package: str, tmp_path: Path) -> None:
    """A lock that has changed since, or a script's own values, do not reach a resumed training."""
    first = Training(package, tmp_path)
    checkpoint = checkpoint_of(first, [harness.profile_callback(first.profile())])
    second = Training(package, tmp_path)
    changed = replace(second.profile(), batch_size=6, learning_rate=0.125)
    trainer = second.trainer([harness.profile_callback(changed)], max_epochs=2)
    trainer.fit(second.module, second.data, ckpt_path=checkpoint)
    assert ([4, 4, 4], [0.25, 0.25, 0.25], 0.25) == (
        second.sizes,
        second.rates,
        second.module.lr,
    )
    assert 4 == trainer.callbacks[0].state_dict()["batch_size"]


def test_batch_size_alone_can_be_applied(tmp_path: Path) -> None:
    """The arguments of `apply` are the callback's; a rate that was not set is not logged."""
    training = Training("lightning.pytorch", tmp_path)
    logger = import_module("lightning.pytorch.loggers").CSVLogger(tmp_path)
    callback = harness.profile_callback(training.profile(), learning_rate=False)
    training.trainer([callback], logger=logger).fit(training.module, training.data)
    assert ([4, 4, 4], [0.5, 0.5, 0.5]) == (training.sizes, training.rates)
    assert "gpu_profile/learning_rate" not in logger.experiment.hparams


def test_profile_of_another_workload_ends_the_fit(tmp_path: Path) -> None:
    """The fit ends with the error of `apply`, before a step."""
    training = Training("lightning.pytorch", tmp_path)
    profile = training.profile()
    training.module.layer = torch.nn.Linear(3, 2)
    with pytest.raises(HarnessError, match="is locked for another workload"):
        training.trainer([harness.profile_callback(profile)]).fit(training.module, training.data)
    assert [] == training.sizes


def test_probes_and_tests_are_left_alone(tmp_path: Path) -> None:
    """A probe's Trainer, and a stage that is no fit, keep the batch size they have."""
    from harness.probe_trainer.endless_fit import make_endless_trainer  # noqa: PLC0415 - torch

    training = Training("lightning.pytorch", tmp_path)
    callback: Any = harness.profile_callback(training.profile())
    probe = make_endless_trainer(
        training.lightning, limit_val_batches=0, logger=False, accelerator="cpu"
    )
    callback.setup(probe, training.module, "fit")
    callback.setup(training.trainer([]), training.module, "test")
    assert (1, 0.5) == (training.data.batch_size, training.module.lr)


@pytest.mark.parametrize("package", PACKAGES)
def test_callback_imports_no_other_package(package: str) -> None:
    """A script of one Lightning package does not pay for the other."""
    code = (
        "import sys, harness\n"
        "from harness.train_time.callback import profile_callback\n"
        "print('torch' in sys.modules)\n"
        f"import {package} as pl\n"
        "print(isinstance(profile_callback(None), pl.Callback))\n"
        "print(sum(name in sys.modules for name in ('lightning.pytorch', 'pytorch_lightning')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ["False", "True", "1"] == done.stdout.split()


@pytest.mark.parametrize("package", PACKAGES)
def test_fit_accumulates_to_the_locked_global_batch(package: str, tmp_path: Path) -> None:
    """The callback sets the Trainer's accumulation, and a resumed training has it again."""
    training = Training(package, tmp_path)
    profile = replace(training.profile(), accumulate_grad_batches=3, global_batch_size=12)
    path = checkpoint_of(training, [harness.profile_callback(profile)])
    resumed = Training(package, tmp_path)
    trainer = resumed.trainer([harness.profile_callback(training.profile())], max_epochs=2)
    trainer.fit(resumed.module, resumed.data, ckpt_path=path, weights_only=False)
    assert (3, 2) == (trainer.accumulate_grad_batches, trainer.global_step)
