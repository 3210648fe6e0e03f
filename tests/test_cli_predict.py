"""`gpu-profile predict`: a table over GPUs, on any machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.cli import main

if TYPE_CHECKING:
    from support import Project

CASE = "net-cpu-48MiB-1"


def predict(project: Project, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the verb in the project."""
    monkeypatch.chdir(project.path)
    return main(["predict", CASE, *arguments])


def test_any_workload_at_any_resolution_with_a_picture(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No matrix is needed: class paths as the matrix has them, `${resolution}` included; one row each, one picture each."""
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
    assert re.match(r"Net, predicted with torch \S+; nothing was run on a GPU\n", shown)
    rows = [line.split()[:3] for line in shown.splitlines() if line.startswith("T4  ")]
    assert [["T4", "64", "4096"], ["T4", "96", "4096"]] == rows
    assert "T4 at 96: most is live in " in shown
    pictures = sorted(path.name for path in (project.path / "pictures").iterdir())
    assert ["step-T4-64.png", "step-T4-96.png"] == pictures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a CASE of the matrix, or a workload with --module and --data: one of the two"),
        ([CASE, "--module", "zoo.Net"], "name a CASE of the matrix, or a workload"),
        ([CASE, "--data", "zoo.Numbers"], f"--data and --trainer are for --module: {CASE} has its own"),
        (["--module", "zoo.Net"], "--module needs a GPU to predict for: name one with --gpu"),
        (["--module", "{class_path", "--gpu", "T4"], "--module {class_path: not valid YAML: "),
        (["--module", "[zoo.Net]", "--gpu", "T4"], "--module [zoo.Net]: a class path is needed, or {"),
        (
            ["--module", "zoo.Nest", "--gpu", "T4"],
            "command line:1: models.Nest.module.class_path: cannot be imported",
        ),
        (
            ["--module", "zoo.Net", "--gpu", "T4", "--trainer", "{preccision: 16}"],
            "command line:1: trainer.preccision",
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
    """Nothing is built; the answer names the argument and what is allowed, with exit code 2."""
    monkeypatch.chdir(project.path)
    assert 2 == main(["predict", *arguments])
    assert message in capsys.readouterr().err


def test_table_over_gpus(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row per GPU, what holds the memory below, and no doubt that nothing ran on a GPU.

    A batch that the cap bounds, far from the limit, is safe as it is.
    """
    assert 0 == predict(project, monkeypatch, "--gpu", "H200", "--gpu", "t4")
    shown = capsys.readouterr().out
    assert re.match(rf"{CASE}, predicted with torch \S+; nothing was run on a GPU\n", shown)
    rows = [line.split()[:4] for line in shown.splitlines() if line.startswith(("H200 ", "T4 "))]
    assert [[label, "16", "16", "cap"] for label in ("H200", "T4")] == rows
    assert re.search(r"^H200: most is live in step 2 \w+, at batch 16$", shown, re.MULTILINE)
    assert "  parameter" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), f"{CASE} runs on the CPU, where it is measured: name a GPU with --gpu"),
        (("--gpu", "GTX970"), "nothing is known of a GPU called GTX970: known are T4, "),
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
    """No GPU is guessed: neither for a case that is measured here, nor for a label that is not in the table."""
    assert 2 == predict(project, monkeypatch, *arguments)
    assert f"gpu-profile: {message}" in capsys.readouterr().err
