"""What a workload finds for its logger, checkpoints, early stopping and progress bar."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import zoo
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger
from training_probes import Probing

pytestmark = pytest.mark.filterwarnings("ignore")

FOUND: dict[str, Any] = {}


def here(name: str) -> str:
    """Return the class path of something in this file."""
    return f"{__name__}.{name}"


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Probing:
    """Return a function that runs probes with a bound that only records, in an empty folder."""
    FOUND.clear()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path / "here")
    return Probing(monkeypatch)


class Small(zoo.Net):
    """The network of the zoo, 8 wide."""

    def __init__(self) -> None:
        super().__init__(8)
        self.save_hyperparameters({"width": 8})


class Logs(Small):
    """Uses its logger as trainings do."""

    def on_fit_start(self) -> None:
        """Ask for names and folders."""
        logger: Any = self.logger
        assert [logger] == self.trainer.loggers
        assert self.trainer.log_dir is not None
        FOUND.update(
            log_dir=self.trainer.log_dir,
            same=(logger.log_dir, os.path.join(logger.save_dir, logger.name, "version_0")),  # noqa: PTH118 - as users write it
            names=(logger.name, logger.version, Path(logger.root_dir).name),
            isinstance=isinstance(logger, Logger),
        )
        Path(logger.log_dir, "notes.txt").write_text("made by the user", encoding="utf-8")
        logger.log_hyperparams({"a": 1})
        logger.log_metrics({"a": 1.0}, step=3)
        logger.watch(self, log="all")
        logger.log_image(key="x", images=[])
        logger.experiment.config.update({"a": 1}, allow_val_change=True)
        logger.experiment.config["b"] = 2
        logger.experiment.summary["best"] = 1.0
        logger.experiment.log_artifact(logger.run_id, f"{logger.experiment.dir}/model.pt")
        assert str(Path(logger.experiment.log_dir, "x")).startswith(self.trainer.log_dir)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Draw into the experiment."""
        loss = super().training_step(batch, batch_idx)
        experiment: Any = self.logger.experiment  # type: ignore[union-attr]  # it is there
        experiment.add_scalar("loss", loss.item(), self.global_step)
        experiment.add_histogram("weights", self.layers[0].weight, self.global_step)
        experiment.log({"loss": loss.item()}, step=self.global_step)
        experiment["train/loss"].append(loss.item())
        self.log("train_loss", loss, prog_bar=True, logger=True)
        self.log_dict({"a": loss, "b": loss}, on_step=True, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Read what was logged."""
        FOUND["metrics"] = set(self.trainer.progress_bar_metrics)


def test_logger_has_the_folders_of_the_default(probe: Probing, tmp_path: Path) -> None:
    """A logger has names and folders in the scratch folder; what is logged goes nowhere."""
    found = probe(here("Logs"))
    assert ("fits", None) == (found["outcome"], found["detail"])
    folder = tmp_path / "scratch" / "lightning_logs" / "version_0"
    assert str(folder) == FOUND["log_dir"]
    assert (str(folder), str(folder)) == FOUND["same"]
    assert ("lightning_logs", 0, "lightning_logs") == FOUND["names"]
    assert FOUND["isinstance"]
    assert "train_loss" in FOUND["metrics"]
    assert [folder / "notes.txt"] == [
        path for path in (tmp_path / "scratch").rglob("*") if path.is_file()
    ]
    assert [] == list((tmp_path / "here").iterdir())


class Branches(Small):
    """Does what its logger's class allows."""

    def on_train_start(self) -> None:
        """Keep the classes and the names."""
        FOUND["loggers"] = [(isinstance(one, MLFlowLogger), one.name) for one in self.loggers]
        FOUND["logger"] = self.logger
        FOUND["checkpoint"] = self.trainer.checkpoint_callback


MLFLOW = {
    "class_path": "lightning.pytorch.loggers.MLFlowLogger",
    "init_args": {"experiment_name": "mine", "tracking_uri": "http://nowhere.invalid"},
}


@pytest.mark.parametrize(
    ("told", "loggers"),
    [
        (True, [(False, "lightning_logs")]),
        (False, []),
        ([], []),
        (MLFLOW, [(True, "mine")]),
        (
            [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {}}, MLFLOW],
            [(False, "lightning_logs"), (True, "mine")],
        ),
    ],
)
def test_logger_of_the_matrix_is_told(probe: Probing, told: Any, loggers: Any) -> None:
    """A stand-in is of the class that the matrix names, and connects to nothing."""
    found = probe(here("Branches"), trainer={"logger": told})
    assert ("fits", None) == (found["outcome"], found["detail"])
    assert loggers == FOUND["loggers"]


def test_trainer_without_checkpoints_or_bar_has_none(probe: Probing) -> None:
    """A training that switches them off finds no callback."""
    probe(here("Branches"), trainer={"enable_checkpointing": False, "enable_progress_bar": False})
    assert FOUND["checkpoint"] is None


class Asks(Small):
    """Asks its callbacks, as trainings do."""

    def configure_callbacks(self) -> Any:
        """Return callbacks that would end or save the training."""
        return [callbacks.EarlyStopping("missing", patience=7)]

    def on_train_start(self) -> None:
        """Look for them in every way."""
        trainer = self.trainer
        best: Any = trainer.checkpoint_callback
        stopping: Any = trainer.early_stopping_callback
        (saved,) = [
            one for one in vars(trainer)["callbacks"] if isinstance(one, callbacks.ModelCheckpoint)
        ]
        assert saved is best
        bar: Any = trainer.progress_bar_callback
        assert bar.is_enabled is not None
        FOUND.update(
            best=(best.best_model_path, best.best_model_score, best.monitor),
            dirpath=best.dirpath,
            stopping=(stopping.patience, stopping.monitor, stopping.wait_count),
        )
        self.print("shown nowhere")

    def on_train_epoch_end(self) -> None:
        """Ask for the best checkpoint, as there is none."""
        assert not self.trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]  # it is there


def test_callbacks_answer_as_at_the_start_of_a_training(probe: Probing, tmp_path: Path) -> None:
    """Checkpoints, early stopping and the bar are there, and do nothing."""
    found = probe(here("Asks"))
    assert ("fits", None, 24) == (found["outcome"], found["detail"], found["samples"])
    assert ("", None, None) == FOUND["best"]
    assert (7, "missing", 0) == FOUND["stopping"]
    folder = tmp_path / "scratch" / "lightning_logs" / "version_0" / "checkpoints"
    assert str(folder) == str(FOUND["dirpath"])
    assert not list(tmp_path.rglob("*.ckpt"))


class OwnCheckpoint(callbacks.ModelCheckpoint):
    """Saves after each step, and has a method of its own."""

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Fail: a probe does not save."""
        raise AssertionError

    def where(self) -> str:
        """Return the folder."""
        return f"in {self.dirpath}"


class AsksOwn(Small):
    """Asks a checkpoint of its own."""

    def on_train_start(self) -> None:
        """Ask."""
        FOUND["where"] = self.trainer.checkpoint_callback.where()  # type: ignore[union-attr]  # its own


def test_checkpoints_of_the_user_keep_their_settings(probe: Probing) -> None:
    """A subclass of the user's stays with its attributes and methods, without its hooks."""
    init_args = {"dirpath": "kept", "monitor": "missing", "every_n_train_steps": 1}
    specs = [{"class_path": here("OwnCheckpoint"), "init_args": init_args}]
    found = probe(here("AsksOwn"), trainer={"callbacks": specs})
    assert ("fits", None) == (found["outcome"], found["detail"])
    assert f"in {Path('kept').absolute()}" == FOUND["where"]
    assert not Path("kept").exists()


@pytest.mark.parametrize("kind", ["LearningRateMonitor", "DeviceStatsMonitor", "ModelSummary"])
def test_callbacks_that_need_a_logger_have_one(probe: Probing, kind: str) -> None:
    """Lightning's monitors refuse a Trainer without a logger."""
    specs = [{"class_path": f"lightning.pytorch.callbacks.{kind}", "init_args": {}}]
    found = probe(here("Small"), trainer={"callbacks": specs})
    assert ("fits", None) == (found["outcome"], found["detail"])


def test_default_logger_is_one_of_lightnings(probe: Probing) -> None:
    """Code that asks for the class of the default logger finds it."""
    probe(here("Branches"))
    assert isinstance(FOUND["logger"], (CSVLogger, pl.loggers.TensorBoardLogger))
