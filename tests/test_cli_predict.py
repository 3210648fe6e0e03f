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
