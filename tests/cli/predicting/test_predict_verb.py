"""The verb `predict` prints a table of GPUs, on any machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.cli.command_line import main

if TYPE_CHECKING:
    from projects import Project

CASE = "net-cpu-48MiB-1"


def predict(project: Project, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the verb in the project."""
    monkeypatch.chdir(project.path)
    return main(["predict", CASE, *arguments])


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_any_workload_at_any_resolution_with_a_picture(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--module` and `--data` replace the matrix; each resolution has a row and a picture.

    They may refer to `${resolution}`, as in the matrix.
    """
    monkeypatch.chdir(project.path)
    (project.path / "profiles" / "matrix.yaml").unlink()
    (project.path / "zoo.py").write_bytes((project.path / "profiles" / "zoo.py").read_bytes())
    module = '{class_path: zoo.Net, init_args: {width: "${resolution}"}}'
    arguments = [
        "--module",
        module,
        "--data",
        "zoo.Numbers",
        "--gpu",
        "T4",
        "--resolution",
        "64",
        "--resolution",
        "96",
    ]
    assert 0 == main(
        ["predict", *arguments, "--trainer", "{precision: 16-mixed}", "--plot", "pictures/step.png"]
    )
    shown = capsys.readouterr().out
    assert re.match(
        r"Net, predicted with torch \S+ on simulated GPUs; nothing ran on a GPU\n", shown
    )
    rows = [line.split()[:3] for line in shown.splitlines() if line.startswith("T4  ")]
    assert [["T4", "64", "4096"], ["T4", "96", "4096"]] == rows
    assert "T4 at 96: memory peaks in " in shown
    pictures = sorted(path.name for path in (project.path / "pictures").iterdir())
    assert ["step-T4-64.png", "step-T4-96.png"] == pictures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name either a CASE of the matrix, or a workload with --module and --data"),
        ([CASE, "--module", "zoo.Net"], "name either a CASE of the matrix, or a workload"),
        (
            [CASE, "--data", "zoo.Numbers"],
            f"--data and --trainer are for --module: {CASE} has its own",
        ),
        (["--module", "zoo.Net"], "--module needs a GPU to predict for: name one with --gpu"),
        (["--module", "{class_path", "--gpu", "T4"], "--module {class_path: not valid YAML: "),
        (
            ["--module", "[zoo.Net]", "--gpu", "T4"],
            "--module [zoo.Net]: a class path is needed, or {",
        ),
        (
            ["--module", "zoo.Nest", "--gpu", "T4"],
            "gpu-profile: module.class_path: cannot be imported",
        ),
        (
            ["--module", "zoo.Net", "--gpu", "T4", "--trainer", "{preccision: 16}"],
            "gpu-profile: trainer.preccision: unknown key; did you mean precision?",
        ),
        (
            [CASE, "--gpu", "T4", "--plot", "step.pdf"],
            "--plot step.pdf: pictures are PNG; end the name in .png",
        ),
        (
            ["--module", "zoo.Net", "--gpu", "T4", "--resolution", "8"],
            "--resolution has no effect: write ${resolution} into --module or --data",
        ),
        ([CASE, "--gpu", "T4", "--resolution", "a b"], "profiles/matrix.yaml:1: matrix.resolution"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """The message names the argument and the allowed values, and the exit code is 2."""
    monkeypatch.chdir(project.path)
    assert 2 == main(["predict", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_table_over_gpus(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output has a row for each GPU, lists what holds memory, and says that no GPU was used.

    A batch that the cap bounds, far from the limit, is safe unchanged. torch's snapshot can be had.
    """
    gpus = ("--gpu", "H200", "--gpu", "t4")
    assert 0 == predict(project, monkeypatch, *gpus, "--snapshot", "allocations.pickle")
    snapshots = sorted(path.name for path in project.path.glob("*.pickle"))
    assert ["allocations-H200-1.pickle", "allocations-T4-1.pickle"] == snapshots
    shown = capsys.readouterr().out
    assert re.match(
        rf"{CASE}, predicted with torch \S+ on simulated GPUs; nothing ran on a GPU\n", shown
    )
    rows = [line.split()[:4] for line in shown.splitlines() if line.startswith(("H200 ", "T4 "))]
    assert [[label, "16", "16", "cap"] for label in ("H200", "T4")] == rows
    assert re.search(
        r"^H200: memory peaks in the [\w ]+ of step 2 \(batch 16\), held by$", shown, re.MULTILINE
    )
    assert re.search(r"^ +\S+ [KM]iB  activation of \S+ +\S*zoo.py:\d+$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), f"{CASE} runs on the CPU, where it is measured: name a GPU with --gpu"),
        (("--gpu", "GTX970"), "unknown GPU GTX970. Did you mean "),
    ],
    ids=["case on the CPU", "unknown GPU"],
)
def test_gpu_has_to_be_known(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """A case on the CPU needs a GPU, and a GPU label must be in the table."""
    assert 2 == predict(project, monkeypatch, *arguments)
    assert f"gpu-profile: {message}" in capsys.readouterr().err
