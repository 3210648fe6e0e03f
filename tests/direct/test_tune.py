"""`harness.tune` beside a run of pytest, and in scripts as users write them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from projects import WORKLOADS, make_files

import harness
from harness.cli.command_line import main
from harness.devices.device import NoSuchDeviceError
from harness.direct.measuring import NothingTrainsError
from harness.errors import HarnessError
from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from projects import Project

ONCE: dict[str, Any] = {"search": {"max_batch_size": 16}, "lr_range": {"num_training": 60, "seeds": [0], "when": "never"}}  # fmt: skip
SCRIPT = """
import os
import torch
import harness
from lightning.pytorch import LightningDataModule, LightningModule

class Net(LightningModule):
    def __init__(self, width, lr=0.01):
        super().__init__()
        self.layer, self.lr = torch.nn.Linear(4, width), lr
    def training_step(self, batch, _):
        return loss_of(self.layer(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

class Numbers(LightningDataModule):
    def __init__(self, batch_size=1):
        super().__init__()
        self.batch_size = batch_size
    def train_dataloader(self):
        return torch.utils.data.DataLoader(items, batch_size=self.batch_size)

def loss_of(output, target):
    return torch.nn.functional.cross_entropy(output, target)

items = [(torch.full((4,), float(n % 2)), n % 2) for n in range(64)]
module, data = Net(2), Numbers()
before = {name: value.clone() for name, value in module.state_dict().items()}
tuned = harness.tune(module, data, gpu="cpu-16MiB", search={"max_batch_size": 8},
                     lr_range={"when": "never"})
assert all(before[name].equal(value) for name, value in module.state_dict().items())
assert data.batch_size == 1
harness.apply(tuned, module, data, learning_rate=False)
print(tuned.max_batch_size, tuned.bounded_by, data.batch_size, tuned.workload["module"])
plain = harness.tune(torch.nn.Linear(4, 2), items, loss=lambda a, b: loss_of(a, b),
                     gpu="cpu-16MiB", search={"max_batch_size": 4}, lr_range={"when": "never"},
                     progress=False)
print(plain.max_batch_size, repr(plain))
print(sorted(os.listdir(".")))
"""
HALTS = """
import time
import torch
import harness

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
    def forward(self, x):
        open("reached", "w").write("x")
        time.sleep(600)

harness.tune(Net, [(torch.zeros(4), 0)] * 8, gpu="cpu-16MiB")
"""


def files_below(folder: Path) -> list[Path]:
    """Return all files and folders, but for the bytecode that Python leaves."""
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, with its temporary files in a folder of its own."""
    make_files(folder, {"here/train.py": text, "tmp/of_others": ""})
    return subprocess.run(
        [sys.executable, "train.py"],
        cwd=folder / "here",
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_same_settings_give_what_a_run_of_pytest_gives_and_its_lock_is_fresh(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lock that was asked for is that of a matrix; nothing else is written here."""
    project.run("--gpu-profile")
    (case,) = project.report().values()
    capsys.readouterr()
    monkeypatch.chdir(project.path)
    monkeypatch.syspath_prepend(str(project.path / "profiles"))
    before = files_below(project.path)
    tuned = harness.tune("zoo.Net", "zoo.Numbers", gpu="cpu-48MiB", **ONCE)
    shown = capsys.readouterr()
    assert before == files_below(project.path)
    names = ("max_batch_size", "bounded_by", "fingerprint", "recipe", "validation_batch_size")
    assert [case[name] for name in names] == [getattr(tuned, name) for name in names]
    assert [probe["batch_size"] for probe in case["probes"]] == [
        probe.batch_size for probe in tuned.probes
    ]
    assert "" == shown.out
    assert [line.partition(",")[0] for line in shown.err.splitlines()] == [
        "building the workload",
        *(f"batch {probe.batch_size} fits" for probe in tuned.probes),
        f"finding where the memory of batch {tuned.max_batch_size} goes",
    ]
    locked = tuned.lock(project.lock, model="net")
    assert 0 == main(["check"])
    assert locked == harness.load_profile("net", gpu="cpu-48MiB", lock=project.lock)
    assert locked == read_lock(project.lock).profiles[0]


@pytest.mark.probes
def test_script_without_a_guard_hands_over_what_it_defines(tmp_path: Path) -> None:
    """Modules, data and losses of the script itself are trained; it runs once, and they stay.

    The result goes to `harness.apply`. No file is left, neither here nor among temporary ones.
    """
    pytest.importorskip("cloudpickle")
    done = run(tmp_path, SCRIPT)
    assert 0 == done.returncode, done.stderr
    assert done.stdout.splitlines() == [
        "8 cap 8 __main__.Net",
        "4 Tuned(batch_size=4, max_batch_size=4, learning_rate=None, device='cpu')",
        "['train.py']",
    ]
    assert 1 == done.stderr.count("building the workload")
    assert [] == list((tmp_path / "tmp").glob("gpu-profile-*"))


@pytest.mark.probes
def test_interrupted_script_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    """Ctrl-C ends a probe in its forward pass, and the script by KeyboardInterrupt."""
    pytest.importorskip("cloudpickle")
    make_files(tmp_path, {"here/train.py": HALTS, "tmp/of_others": ""})
    reached = tmp_path / "here" / "reached"
    os.mkfifo(reached)
    with subprocess.Popen(
        [sys.executable, "train.py"],
        cwd=tmp_path / "here",
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert "x" == reached.read_text()  # a probe is in its forward pass
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        # The pipe's end comes once no process has it any more.
        assert process.stderr.read().rstrip().endswith("KeyboardInterrupt")
    assert [] == list((tmp_path / "tmp").glob("gpu-profile-*"))


@pytest.mark.probes
def test_nothing_that_trains_is_an_error_with_the_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message tells the limit and the smallest batch; a note names where the output is."""
    monkeypatch.syspath_prepend(str(WORKLOADS))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    net = {"class_path": "zoo.Net", "init_args": {"width": 900}}
    with pytest.raises(NothingTrainsError) as raised:
        harness.tune(net, "zoo.Numbers", gpu="cpu-1MiB", progress=False, **ONCE)
    assert str(raised.value).startswith(
        "Net on cpu-1MiB: no batch size trains in 1.0 MiB: batch 1 out of memory in "
    )
    (note,) = raised.value.__notes__
    folder = Path(note.removeprefix("The output of its processes is in "))
    assert [folder] == list(tmp_path.iterdir())
    assert any(folder.rglob("*-train-b1.log"))


@pytest.mark.probes
def test_logs_stay_where_they_are_asked_for_and_answer_no_later_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of pytest goes on from answers in its folder; an object may have changed meanwhile."""
    monkeypatch.syspath_prepend(str(WORKLOADS))
    settings = {**ONCE, "search": {"max_batch_size": 2}, "logs": tmp_path / "out"}
    answers = tmp_path / "out" / "Net-cpu-48MiB-1" / "answers.jsonl"
    make_files(answers.parent, {answers.name: "of an interrupted call"})
    tuned = harness.tune("zoo.Net", "zoo.Numbers", gpu="cpu-48MiB", progress=False, **settings)
    assert [2] == [probe.batch_size for probe in tuned.probes]
    assert (answers.parent / "002-train-b2.log").is_file()
    assert not answers.exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"gpu": "h100"}, NoSuchDeviceError, "harness.estimate predicts for a GPU that is not"),
        ({"gpu": "cpu-1MiB", "lock": __file__}, HarnessError, "test_tune.py:1: "),
        ({"gpu": "cpu-1MiB", "logs": "/proc/no"}, HarnessError, "logs='/proc/no': no folder can"),
    ],
)
def test_what_cannot_be_is_told_at_once(
    arguments: dict[str, Any],
    kind: type[HarnessError],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No process starts, and no temporary file is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    linear = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 1, "out_features": 1}}
    with pytest.raises(kind, match=message):
        harness.tune(linear, **arguments)
    assert [] == list(tmp_path.iterdir())
