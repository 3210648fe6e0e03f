"""`gpu-profile predict --devices` prints the largest batch of a rank against the number of GPUs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from json_documents import assert_described

from harness.cli.command_line import main

if TYPE_CHECKING:
    from projects import Project

CASE = "net-cpu-48MiB-1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--devices", "0"), "--devices 0: a whole number from 1 to 1024 is needed"),
        (("--devices", "1025"), "--devices 1025: a whole number from 1 to 1024 is needed"),
        (("--devices", "9" * 5000), "9: a whole number from 1 to 1024 is needed"),
        (("--devices", "eight"), "--devices eight: a whole number from 1 to 1024 is needed"),
        (("--devices", "-8"), "--devices -8: a whole number from 1 to 1024 is needed"),
        (
            ("--devices", "100"),
            "--devices 100: more than 32 GPUs are machines of 8: name a multiple of it, such as 96",
        ),
        (
            ("--devices", "8", "--devices", "64", "--snapshot", "a.pickle"),
            "several --devices are drawn as a curve, without --what-if and --snapshot",
        ),
        (("--devices", "8", "--devices", "64", "--what-if"), "several --devices are drawn as a "),
    ],
)
def test_numbers_that_cannot_be_had_are_refused(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """The message names the number and what is allowed, and the exit code is 2."""
    monkeypatch.chdir(project.path)
    assert 2 == main(["predict", CASE, "--gpu", "T4", *arguments])
    assert message in capsys.readouterr().err


def test_all_cases_keep_their_devices(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--devices` is for one case."""
    monkeypatch.chdir(project.path)
    assert 2 == main(["predict", "--all", "--gpu", "T4", "--devices", "8"])
    assert "so --devices does not go with it" in capsys.readouterr().err


@pytest.mark.skipif(torch.version.cuda is not None, reason="torch is a CUDA build")
def test_a_cpu_build_of_torch_is_told_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, with the command."""
    monkeypatch.chdir(project.path)
    asked = ["predict", CASE, "--gpu", "T4", "--devices", "8", "--devices", "64"]
    assert 2 == main(asked)
    told = capsys.readouterr().err
    assert "gpu-profile: a simulated GPU needs torch's CUDA build" in told
    assert "`pip install " in told


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_a_curve_over_devices(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each number has a row, and a picture shows them; the document has them all."""
    monkeypatch.chdir(project.path)
    asked = ["predict", CASE, "--gpu", "T4", "--devices", "1", "--devices", "64"]
    assert 0 == main([*asked, "--plot", "curve.png", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert_described(document, "predict")
    found = [
        (one["device"]["count"], one["max_batch_size"], one["samples_per_step"], one["plot"])
        for one in document["predictions"]
    ]
    assert [(1, 16, 16, "curve.png"), (64, 16, 1024, "curve.png")] == found
    assert b"\x89PNG" == (project.path / "curve.png").read_bytes()[:4]


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_a_number_that_does_not_train_loses_no_other(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its row has no batch and a line has the reason, in the words of the training."""
    monkeypatch.chdir(project.path)
    text = "import os\nfrom zoo import Net\n\n\nclass Even(Net):\n    def __init__(self):\n"
    text += "        super().__init__()\n        if int(os.environ.get('WORLD_SIZE', 1)) == 3:\n"
    text += "            raise ValueError('heads: 3 ranks cannot share them')\n"
    (project.path / "zoo.py").write_bytes((project.path / "profiles" / "zoo.py").read_bytes())
    (project.path / "even.py").write_text(text)
    workload = ["--module", "even.Even", "--data", "zoo.Numbers", "--gpu", "T4"]
    assert 2 == main(["predict", *workload, "--devices", "3", "--devices", "2"])
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines() if line.startswith("T4 ")]
    assert [["T4", "3", "-"], ["T4", "2", "2048", "4096"]] == [row[:4] for row in rows]
    assert "3 x T4: " in shown
    assert "heads: 3 ranks cannot share them" in shown
