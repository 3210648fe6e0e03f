"""The verb `probe` tries one batch size and prints its outcome, with the traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command_line import CASE, Output
from json_documents import document

from harness.cli.command_line import main

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project


def test_folder_that_cannot_be_written_is_told(
    project: Project, lock: Path, capsys: Output
) -> None:
    """A results folder that cannot be written is reported without a traceback."""
    project.results.write_text("a file where a folder should be", encoding="utf-8")
    assert 2 == main(["probe", CASE, "--batch-size", "1"])
    told = "gpu-profile: .gpu-profile: results cannot be written there: it is a file; "
    assert capsys.readouterr().err.startswith(told)


def test_device_that_is_not_here_is_told(project: Project, lock: Path, capsys: Output) -> None:
    """A probe for a GPU that is not here exits with 2, names that GPU and leaves no files."""
    project.write_matrix(gpus="h200")
    matrix = project.path / "profiles" / "matrix.yaml"
    matrix.write_text(
        matrix.read_text(encoding="utf-8").replace("NVIDIA H200", "No Such GPU"), encoding="utf-8"
    )
    assert 2 == main(["probe", "net-h200-1", "--batch-size", "4"])
    assert capsys.readouterr().err.startswith("gpu-profile: needs No Such GPU: ")
    assert not project.results.exists()


def test_probe_that_fits_tells_its_peak_and_leaves_the_logs_of_runs(
    project: Project, lock: Path, capsys: Output
) -> None:
    """A probe that fits exits with 0; its log does not replace the logs of runs."""
    log = project.results / CASE / "002-train-b4.log"
    log.parent.mkdir(parents=True)
    log.write_text("of a run", encoding="utf-8")
    assert 0 == main(["probe", CASE, "--batch-size", "4"])
    printed = capsys.readouterr()
    assert "" == printed.err
    told, where = printed.out.splitlines()
    assert told.startswith(f"{CASE}: batch 4 fits, peak ")
    assert " of 48.0 MiB, " in told
    assert f"output: .gpu-profile/probe/{CASE}/002-train-b4.log" == where
    assert "of a run" == log.read_text(encoding="utf-8")


def test_probe_is_a_document(project: Project, lock: Path, capsys: Output) -> None:
    """The document holds the probe as report.json has it, whether or not it fits."""
    told = document(capsys, "probe", CASE, "--batch-size", "4", code=0)
    assert (CASE, {"name": "cpu", "memory_bytes": 48 << 20, "count": 1}, 48 << 20, "fits", 4) == (
        told["case"],
        told["device"],
        told["memory_limit_bytes"],
        told["probe"]["outcome"],
        told["probe"]["batch_size"],
    )
    project.write_matrix("Raises")
    told = document(capsys, "probe", "raises-cpu-48MiB-1", "--batch-size", "4", code=1)
    assert ("error", "backward") == (told["probe"]["outcome"], told["probe"]["phase"])
    assert "in explode" in told["probe"]["traceback"]


def test_probe_that_fails_shows_the_users_traceback(
    project: Project, lock: Path, capsys: Output
) -> None:
    """A probe that fails exits with 1, with the traceback on stderr and the phase on stdout."""
    project.write_matrix("Raises")
    assert 1 == main(["probe", "raises-cpu-48MiB-1", "--batch-size", "4"])
    printed = capsys.readouterr()
    assert (
        "raises-cpu-48MiB-1: batch 4 failed in backward: ValueError: labels must be sorted"
        in printed.out
    )
    assert "in explode" in printed.err


def test_probe_of_a_workload_that_cannot_be_built_shows_the_traceback(
    project: Project, lock: Path, capsys: Output
) -> None:
    """An exception of a constructor is shown with its traceback, and the exit code is 2."""
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("zoo.Net}", "zoo.Net, init_args: {depth: 3}}")
    matrix.write_text(text, encoding="utf-8")
    assert 2 == main(["probe", CASE, "--batch-size", "4"])
    *traceback, last = capsys.readouterr().err.splitlines()
    assert "Traceback (most recent call last):" in traceback
    told = document(capsys, "probe", CASE, "--batch-size", "4", code=2, kind="error")
    assert "workload" == told["error"]["kind"]
    assert told["error"]["detail"].startswith("Traceback (most recent call last):")
    assert last.startswith("gpu-profile: the workload cannot be built: TypeError: ")
