"""`gpu-profile predict --all`, and what moves between two environments with `--compare`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from wheels import make_wheel

from harness.cli.command_line import main
from harness.environments import layer_of

if TYPE_CHECKING:
    from projects import Project

ROOT = Path(__file__).parents[3]
CASE = "net-h200-as-512MiB-8"
MATRIX = """\
version: 1
matrix: {model: [net, broken], gpu: [h200-as-512MiB, cpu-64MiB], resolution: [8]}
models:
  net:
    module: {class_path: tinynet.Net}
    data: &data
      class_path: harness.synthetic.SyntheticImages
      init_args: {resolution: "${resolution}", num_classes: 10}
  broken:
    module: {class_path: tinynet.Net, init_args: {width: none}}
    data: *data
gpus:
  h200-as-512MiB: {name: NVIDIA H200, budget: 512MiB}
  cpu-64MiB: {accelerator: cpu, budget: 64MiB}
search: {validation: false}
"""
MODEL = """\
import lightning.pytorch as pl
import torch
from torch import nn


class Net(pl.LightningModule):
    def __init__(self, width=4096):
        super().__init__()
        self.body = nn.Linear(192, width)
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        return self.head(torch.relu_(self.body(images.flatten(1))))

    def training_step(self, batch, _):
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
"""
WORSE = MODEL.replace("torch.relu_(", "nn.functional.gelu(")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net-cpu-48MiB-1", "--all"), "so CASE does not go with it"),
        (("--all", "--resolution", "3"), "so --resolution does not go with it"),
        (("--all", "--what-if"), "so --what-if does not go with it"),
        (("--all", "--plot", "x.png"), "so --plot does not go with it"),
        (("--all",), "has no case that names a GPU: name one with --gpu"),
        (("--compare", "a", "b"), "--compare is for a CASE of the matrix or --all"),
        (("--all", "--compare", "a", "b", "--snapshot", "x"), "--compare is for a CASE"),
        (
            ("--all", "--gpu", "H200", "--compare", "a=1", "b=2"),
            "a=1: no answer: --compare a=1: no",
        ),
    ],
)
def test_arguments_must_go_together(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """The exit code is 2, and nothing is predicted."""
    monkeypatch.chdir(project.path)
    assert 2 == main(["predict", *arguments])
    printed = capsys.readouterr()
    assert message in printed.err + printed.out


@pytest.mark.simulated
@pytest.mark.slow
@pytest.mark.usefixtures("torch_server")
def test_what_another_version_moves_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package with the model is compared in two versions, of which one is installed.

    A case that cannot be predicted keeps the answers of the others, and so does a version that does
    not exist.
    """
    make_wheel(tmp_path / "wheels", "tinynet", "1.0", MODEL)
    make_wheel(tmp_path / "wheels", "tinynet", "2.0", WORSE)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    python = layer_of(str(tmp_path / "wheels" / "tinynet-1.0-py3-none-any.whl")).python
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = "import sys; from harness.cli import main; sys.exit(main())"
        done = subprocess.run(
            [python, "-P", "-c", code, "predict", "--all", "--json", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            check=False,
        )
        return done.returncode, json.loads(done.stdout)

    code, found = run("--compare", "tinynet==1.0", "tinynet==2.0")
    comparison = found["comparison"]
    good, broken = comparison["cases"]
    assert (1, {}, {"tinynet": "2.0"}) == (
        code,
        comparison["first"]["replaced"],
        comparison["second"]["replaced"],
    )
    assert CASE == good["case"]
    assert good["second"] < good["allowed"] <= good["first"]
    assert "tinynet.py:13" == good["grown"][0]["line"]
    assert (None, None) == (broken["first"], broken["second"])
    assert 2 == len(broken["problems"])

    code, found = run("--compare", "tinynet==1.0", "tinynet==3.0")
    assert 2 == code
    assert "No matching distribution" in found["comparison"]["second"]["problem"]
    assert good["first"] == found["comparison"]["cases"][0]["first"]

    code, found = run()
    assert (2, [CASE], ["broken-h200-as-512MiB-8"]) == (
        code,
        [one["case"] for one in found["predictions"]],
        [one["case"] for one in found["refused"]],
    )
    assert good["first"] == found["predictions"][0]["max_batch_size"]
