"""The verb `analyze` prints the largest batch per fraction of the memory and mode."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

import pytest
from command_line import CASE, Output
from json_documents import document

import harness.cli.analyze
from harness.batch_search.curve import search_curve
from harness.cli.analyze import COLUMNS
from harness.cli.command_line import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projects import Project

    from harness.batch_search.curve import CurvePoint


@pytest.fixture
def measured(project: Project, lock: Path) -> Project:
    """Make a project whose largest batches are bounded by memory."""
    project.write_matrix(cap=65536)
    return project


def test_each_fraction_and_mode_has_its_largest_batch(measured: Project, capsys: Output) -> None:
    """Each is verified by probes below its own limit; the second fraction takes few of them.

    Nothing is locked, and the logs of runs stay as they are.
    """
    before = measured.lock.read_bytes()
    log = measured.results / CASE / "002-train-b4.log"
    log.parent.mkdir(parents=True)
    log.write_text("of a run", encoding="utf-8")
    arguments = ["--fractions", "45%,0.9", "--modes", "train,val"]
    told = document(capsys, "analyze", CASE, *arguments, code=0)
    found = told["points"]
    assert [("train", 0.45), ("train", 0.9), ("val", 0.45), ("val", 0.9)] == [
        (row["mode"], row["fraction"]) for row in found
    ]
    assert (CASE, {"name": "cpu", "memory_bytes": 48 << 20, "count": 1}, "measured") == (
        told["case"],
        told["device"],
        told["source"],
    )
    assert {"memory"} == {row["bounded_by"] for row in found}
    for less, more in (found[:2], found[2:]):
        assert (int(0.45 * (48 << 20)), int(0.9 * (48 << 20))) == (
            less["memory_limit_bytes"],
            more["memory_limit_bytes"],
        )
        for row in (less, more):
            assert 0.9 < row["peak_memory_bytes"] / row["memory_limit_bytes"] <= 1
        # The curve is a line but for its beginning, and the noise of a peak is a sample.
        assert 0.35 < less["max_batch_size"] / more["max_batch_size"] < 0.5
        assert 2 <= less["num_probes"] <= 4
    assert before == measured.lock.read_bytes()
    assert "of a run" == log.read_text(encoding="utf-8")
    assert (measured.results / "analyze" / CASE / "001-describe.log").exists()


def test_interruption_prints_what_was_found(
    project: Project, lock: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C in the second search the first one's row is printed; the exit code is 130."""

    def interrupted(*arguments: Any) -> Iterator[CurvePoint]:
        yield next(search_curve(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(harness.cli.analyze, "search_curve", interrupted)
    assert 130 == main(["analyze", CASE, "--fractions", "0.8,0.9", "--format", "csv"])
    printed = capsys.readouterr()
    assert "gpu-profile: interrupted\n" == printed.err
    (row,) = csv.DictReader(printed.out.splitlines())
    assert [*COLUMNS] == [*row]
    assert ("train", "0.9", "16", "cap") == (
        row["mode"],
        row["fraction"],
        row["max_batch_size"],
        row["bounded_by"],
    )


def test_interruption_is_a_document_with_what_was_found(
    project: Project, lock: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `--json` the document of the error holds the points that are done."""

    def interrupted(*arguments: Any) -> Iterator[CurvePoint]:
        yield next(search_curve(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(harness.cli.analyze, "search_curve", interrupted)
    told = document(capsys, "analyze", CASE, code=130, kind="error")
    (point,) = told["error"]["found"]["points"]
    assert ("train", 0.9, 16) == (point["mode"], point["fraction"], point["max_batch_size"])


def test_workload_that_fails_at_every_size_has_no_batch(
    project: Project, lock: Path, capsys: Output
) -> None:
    """The table tells 0 and the bound, and standard error the reason; the exit code is 1."""
    project.write_matrix("Raises")
    assert 1 == main(["analyze", "raises-cpu-48MiB-1", "--fractions", "0.9"])
    printed = capsys.readouterr()
    assert re.search(r"^train +0\.9 +43\.2 MiB +0 +error +- +\d+$", printed.out, re.MULTILINE)
    assert "train at 0.9: nothing fits: batch 1 failed in backward: ValueError: " in printed.err


def test_case_without_validation_has_no_curve_of_it(
    project: Project, lock: Path, capsys: Output
) -> None:
    """The message names the mode that is allowed."""
    project.write_matrix("NoValidation")
    case = "novalidation-cpu-48MiB-1"
    assert 2 == main(["analyze", case, "--modes", "train,val"])
    told = f"gpu-profile: --modes train,val: {case} does not validate; allowed: train\n"
    assert ("", told) == capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fractions", "0"], "--fractions 0: 0 is not allowed; fractions above 0 and up to 0.98"),
        (["--fractions", "0.5,1.2"], "--fractions 0.5,1.2: 1.2 is not allowed; fractions above"),
        (["--fractions", "0.99"], "--fractions 0.99: 0.99 is not allowed; fractions above"),
        (["--fractions", "nan"], "--fractions nan: nan is not allowed; fractions above"),
        (["--fractions", "most"], "--fractions most: most is not allowed; fractions above"),
        (["--fractions", "0.5,"], "--fractions 0.5,: nothing is not allowed; fractions above"),
        (["--fractions", "0.5,50%"], "--fractions 0.5,50%: 50% stands there twice"),
        (["--modes", "test"], "--modes test: test is not allowed; train, val with a comma"),
        (["--modes", ""], "--modes : nothing is not allowed; train, val with a comma"),
        (["--modes", "val,val"], "--modes val,val: val stands there twice"),
        (["--gpu", "H1000"], "unknown GPU H1000."),
    ],
)
def test_wrong_arguments_are_refused_with_those_that_are_allowed(
    project: Project, lock: Path, capsys: Output, arguments: list[str], message: str
) -> None:
    """Nothing is measured, and the exit code is 2."""
    assert 2 == main(["analyze", CASE, *arguments])
    printed = capsys.readouterr()
    assert "" == printed.out
    assert printed.err.startswith(f"gpu-profile: {message}")
    assert not project.results.exists()


def test_unknown_format_is_refused(capsys: Output) -> None:
    """The message names the formats."""
    assert 2 == main(["analyze", CASE, "--format", "yaml"])
    assert "invalid choice: 'yaml' (choose from" in capsys.readouterr().err


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_curve_of_a_gpu_that_is_not_here(project: Project, lock: Path, capsys: Output) -> None:
    """One run's allocations are replayed below each limit: B and B + 1 are all that is left."""
    project.write_matrix(cap=1 << 20, data="{class_path: zoo.Numbers, init_args: {}}")
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("data: {class_path: {", "data: {")
    text = text.replace("init_args: {}}}", "init_args: {num_samples: 2000000}}")
    matrix.write_text(text.replace("zoo.Net}", "zoo.Net, init_args: {width: 65536}}"), "utf-8")
    arguments = ["--gpu", "T4", "--fractions", "0.6,0.9"]
    told = document(capsys, "analyze", CASE, *arguments, code=0)
    less, more = told["points"]
    assert ("predicted", "Tesla T4", "memory", "memory") == (
        told["source"],
        told["device"]["name"],
        less["bounded_by"],
        more["bounded_by"],
    )
    assert 0.6 < less["max_batch_size"] / more["max_batch_size"] < 0.7
    assert less["num_probes"] <= 3
