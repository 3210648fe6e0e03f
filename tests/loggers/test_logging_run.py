"""Loggers in processes of their own: real ones, and those that misbehave."""

from __future__ import annotations

import csv
import importlib
import json
import os
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
from case_results import FITS, OOM
from measurements import measurement

from harness.loggers import log_run
from harness.matrix.case import Case
from harness.matrix.settings import BoundsSettings, GpuSettings, LrRangeSettings, SearchSettings
from harness.measurement import LrCurve
from harness.probes.open_cases import Surroundings
from harness.report.case_result import CaseResult

if TYPE_CHECKING:
    from collections.abc import Mapping

ZOO = Path(__file__).parents[1] / "workloads"
LIGHTNING = "lightning.pytorch.loggers"
BLOCK, WHOLE, LAST = 32_768, 1, 4


class Run:
    """Results of cases, which loggers in a folder get."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "loggers"
        self.logs.mkdir()
        self.plot = folder / "lr_range.png"
        matplotlib.image.imsave(self.plot, np.zeros((4, 6, 3)))

    def log(
        self, *loggers: tuple[str, Mapping[str, Any]], cases: int = 1, seconds: float | None = 120.0
    ) -> tuple[str, ...]:
        """Give results to loggers, each a class path with its arguments; `CASE` is the case's."""
        made = [self._case(number, loggers) for number in range(1, cases + 1)]
        surroundings = Surroundings(self.folder, self.folder, (str(ZOO), *sys.path))
        return log_run(
            made, [self._result(case) for case in made], surroundings, self.logs, seconds=seconds
        )

    def read(self, name: str) -> list[list[Any]]:
        """Return what a recording logger has written."""
        text = (self.folder / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def _case(self, number: int, loggers: tuple[tuple[str, Mapping[str, Any]], ...]) -> Case:
        name = f"net-cpu-{number}"
        return Case(
            id=name,
            axes={"model": "net", "gpu": "cpu", "resolution": number},
            workload={"module": None, "data": None, "loss": None, "optimizer": None},  # type: ignore[typeddict-item] # no probe
            device=GpuSettings(name="NVIDIA H200"),
            trainer={},
            search=SearchSettings(),
            lr_range=LrRangeSettings(),
            bounds=BoundsSettings(),
            loggers=tuple(
                {
                    "class_path": path,
                    "init_args": {
                        key: name if value == "CASE" else value for key, value in arguments.items()
                    },
                }
                for path, arguments in loggers
            ),
        )

    def _result(self, case: Case) -> CaseResult:
        found = measurement(
            axes=dict(case.axes),
            probes=(FITS, OOM),
            lr_curves=(LrCurve(0, (0.001, 0.01), (2.0, 1.0)),),
            artifacts=(str(self.plot),),
        )
        return CaseResult(case_id=case.id, axes=dict(case.axes), status="passed", measurement=found)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Make results and a folder for what loggers print."""
    return Run(tmp_path)


def test_csv_and_tensorboard(run: Run) -> None:
    """Both have each probe, the sweep and the tuned values; TensorBoard has the plot, too."""
    name = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = importlib.import_module(name)  # here, because it takes seconds
    warnings = run.log(
        (f"{LIGHTNING}.CSVLogger", {"save_dir": "logs", "name": "csv", "version": "CASE"}),
        (f"{LIGHTNING}.TensorBoardLogger", {"save_dir": "logs", "name": "tb", "version": "CASE"}),
        cases=2,
    )
    assert () == warnings
    for number in (1, 2):
        folder = run.folder / "logs" / "csv" / f"net-cpu-{number}"
        with (folder / "metrics.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        probes = [(row["step"], row["probe/batch_size"], row["probe/fits"]) for row in rows[:2]]
        assert [("1", "471", "1"), ("2", "472", "0")] == probes
        assert ("0", "3328") == (rows[-1]["step"], rows[-1]["tuned/batch_size"])
        assert "resolution: " + str(number) in (folder / "hparams.yaml").read_text(encoding="utf-8")

        events = accumulator.EventAccumulator(str(run.folder / "logs" / "tb" / f"net-cpu-{number}"))
        events.Reload()
        scalars = {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in ("probe/batch_size", "lr_sweep/seed_0/loss", "tuned/max_batch_size")
        }
        assert {
            "probe/batch_size": [(1, 471.0), (2, 472.0)],
            "lr_sweep/seed_0/loss": [(0, 2.0), (1, 1.0)],
        } == {tag: known for tag, known in scalars.items() if "tuned" not in tag}
        assert (0, 3712.0) == scalars["tuned/max_batch_size"][-1]
        (image,) = events.Images("lr_range")
        assert (6, 4) == (image.width, image.height)


def test_a_logger_gets_all_of_each_case(run: Run) -> None:
    """Any class with a logger's methods will do, and each case has a logger of its own."""
    assert () == run.log(("loggers_zoo.Recording", {"file": "out", "name": "CASE"}), cases=2)
    written = run.read("out")
    assert [["made", "net-cpu-1"], ["made", "net-cpu-2"]] == [
        line for line in written if line[0] == "made"
    ]
    assert ["image", ["lr_range", [str(run.plot)]]] in written
    assert [["end", "success"]] * 2 == [line for line in written if line[0] == "end"]


def test_each_logger_that_fails_is_a_warning(run: Run) -> None:
    """It names the logger and the reason, shows no password, and the others log all the same."""
    warnings = run.log(
        ("loggers_zoo.Recording", {"file": "out"}),
        ("loggers_zoo.Raises", {"password": "hunter2222"}),
        ("loggers_zoo.Exits", {}),
        ("loggers_zoo.NeedsWandb", {}),
        ("nowhere.WandbLogger", {}),
        ("loggers_zoo.Recording", {"file": "out", "api_key": "hunter2222"}),
    )
    where = f"(its output is in {os.path.relpath(run.logs)}"
    shown = [warning.partition(" (its output")[0] for warning in warnings]
    start = "the logger {} did not log 1 of 1 cases: "
    assert [
        start.format("Raises") + "PermissionError: no login with *** at\\x1b[31m example.org",
        start.format("Exits") + "its process ended with exit code 3",
        start.format("NeedsWandb") + "ModuleNotFoundError: No module named "
        "'wandb_that_is_not_there'; install it with: pip install wandb_that_is_not_there",
        start.format("WandbLogger") + "ModuleNotFoundError: No module named 'nowhere'; install it "
        "with: pip install 'pytest-gpu-profile[wandb]'",
    ] == shown[:-1]
    assert "TypeError" in shown[-1]
    assert "api_key" in shown[-1]
    assert "hunter2222" not in "".join(warnings)
    assert all(where.rsplit("/", maxsplit=1)[-1] in warning for warning in warnings)
    assert ["end", "success"] == run.read("out")[-1]


def test_a_logger_that_hangs_is_stopped(run: Run) -> None:
    """The run ends, and what it started ends with it."""
    (warning,) = run.log(("loggers_zoo.Hangs", {}), seconds=2.0)
    assert warning.startswith(
        "the logger Hangs did not log 1 of 1 cases: it did not end within 2 s, and was stopped"
    )


def test_one_case_may_fail(run: Run) -> None:
    """The other cases are logged."""
    (warning,) = run.log(("loggers_zoo.RaisesForOne", {"file": "out"}), cases=3)
    assert warning.startswith(
        "the logger RaisesForOne did not log 1 of 3 cases: ValueError: not this one"
    )
    assert 2 == run.read("out").count(["end", "success"])


def test_what_a_logger_prints_is_in_a_file(run: Run) -> None:
    """It blocks on no pipe, and what it writes elsewhere is no answer."""
    assert () == run.log(("loggers_zoo.Loud", {"file": "out"}), seconds=60.0)
    assert 2_000_001 == len((run.logs / "1-Loud.log").read_bytes())


def test_without_a_measurement_nothing_starts(run: Run) -> None:
    """Cases that were skipped, or were not measured, are not logged."""
    case = run._case(1, (("loggers_zoo.Recording", {"file": "out"}),))
    skipped = CaseResult(case_id=case.id, axes=dict(case.axes), status="skipped")
    surroundings = Surroundings(run.folder, run.folder, (str(ZOO),))
    assert () == log_run([case], [skipped], surroundings, run.logs)
    assert [] == [*run.logs.iterdir()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy
def test_mlflow(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run for each case, in a local store: parameters, metrics by step, and the plot."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    store = f"sqlite:///{run.folder / 'mlflow.db'}"
    arguments = {"experiment_name": "gpu", "run_name": "CASE", "tracking_uri": store}
    assert () == run.log((f"{LIGHTNING}.MLFlowLogger", arguments), cases=2)
    client = mlflow.tracking.MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("gpu").experiment_id])
    assert {"net-cpu-1", "net-cpu-2"} == {one.info.run_name for one in runs}
    for one in runs:
        assert ("FINISHED", "net", 3328.0) == (
            one.info.status,
            one.data.params["model"],
            one.data.metrics["tuned/batch_size"],
        )
        history = client.get_metric_history(one.info.run_id, "probe/batch_size")
        assert [(1, 471.0), (2, 472.0)] == [(metric.step, metric.value) for metric in history]
        assert ["lr_range.png"] == [file.path for file in client.list_artifacts(one.info.run_id)]


@pytest.mark.slow
def test_wandb_offline(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run for each case, in files: configuration, metrics in their order, and the plot."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    arguments = {"project": "gpu", "name": "CASE", "save_dir": str(run.folder)}
    assert () == run.log((f"{LIGHTNING}.WandbLogger", arguments), cases=2)
    files = sorted(run.folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert 2 == len(files)
    for file in files:
        assert [*run.folder.glob(f"wandb/*{file.stem.removeprefix('run-')}/files/media/images/*")]
        rows = read_wandb(file)
        sizes = [row["probe/batch_size"] for row in rows if "probe/batch_size" in row]
        assert [471, 472] == sizes
        assert [3328] == [row["tuned/batch_size"] for row in rows if "tuned/batch_size" in row]


def read_wandb(file: Path) -> list[dict[str, Any]]:
    """Return the rows of an offline run.

    The file is a log as LevelDB's: after 7 bytes of its own, blocks of 32 KiB with pieces of
    records, each behind a checksum, its length and its kind: whole, first, middle or last.
    """
    internal = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data, place, parts = file.read_bytes(), 7, b""
    rows: list[dict[str, Any]] = []
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (WHOLE, LAST):
            record, parts = internal.Record.FromString(parts), b""
            if record.WhichOneof("record_type") == "history":
                rows.append(
                    {
                        item.key or "/".join(item.nested_key): json.loads(item.value_json)
                        for item in record.history.item
                    }
                )
    return rows


def test_output_goes_to_no_link(run: Run) -> None:
    """A checkout may hold a link in the place of a log, to a file of the user's."""
    own = run.folder / "own.txt"
    own.write_text("mine", encoding="utf-8")
    (run.logs / "1-Recording.log").symlink_to(own)
    (warning,) = run.log(("loggers_zoo.Recording", {"file": "out"}))
    assert ("mine", "Recording could not be started: Too many levels of symbolic links") == (
        own.read_text(encoding="utf-8"),
        warning,
    )
