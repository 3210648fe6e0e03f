"""The verb `tune` measures without a lock, and locks where it is asked to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command_line import CASE, Output
from json_documents import assert_described, document

from harness.cli.command_line import main
from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

FAST = ["--set", "search.max_batch_size=8"]
NEVER = ["--set", "lr_range.when=never"]


def test_case_is_tuned_with_other_settings_and_the_lock_stays(
    project: Project, lock: Path, capsys: Output
) -> None:
    """The table is on standard output, a line for each try on standard error."""
    before = lock.read_bytes()
    assert 0 == main(["tune", CASE, *FAST])
    shown = capsys.readouterr()
    assert before == lock.read_bytes()
    assert not project.results.exists()
    rows = shown.out.splitlines()
    assert ["batch size        8", "largest batch     8, bounded by cap"] == rows[:2]
    tries = shown.err.splitlines()
    assert "building the workload" == tries[0]
    assert tries[-2].startswith("batch 8 fits, peak ")
    assert "finding where the memory of batch 8 goes" == tries[-1]


def test_workload_of_the_command_line_is_locked_where_asked(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """`--set` reaches the constructor; JSON is a case of report.json, which a script reads."""
    monkeypatch.chdir(project.path)
    workload = ["--module", "zoo.Net", "--data", "zoo.Numbers", "--gpu", "cpu-48MiB"]
    more = ["--set", "module.init_args.width=32", "--json", "--lock", "other.lock"]
    assert 0 == main(["tune", *workload, *FAST, *NEVER, *more])
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert_described(told, "tune")
    assert "other.lock" == told["locked_in"]
    case = told["case"]
    assert ["Net-cpu-48MiB-1", 8, "passed"] == [
        case[name] for name in ("id", "max_batch_size", "status")
    ]
    assert shown.err.endswith("locked Net-cpu-48MiB-1 in other.lock\n")
    (profile,) = read_lock(project.path / "other.lock")
    assert (8, 32) == (profile.batch_size, profile.settings["module.init_args.width"])
    assert not project.lock.exists()


def test_workload_that_nowhere_fits_exits_with_1(
    project: Project, lock: Path, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line tells the limit and the smallest batch; nothing is locked, and logs stay."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = lock.read_bytes()
    wide = ["--set", "module.init_args.width=900", "--gpu", "cpu-1MiB", "--lock", str(lock)]
    told = document(capsys, "tune", CASE, *FAST, *wide, code=1)
    assert ("failed", 0, None) == (
        told["case"]["status"],
        told["case"]["max_batch_size"],
        told["locked_in"],
    )
    assert 1 == main(["tune", CASE, *FAST, *wide])
    shown = capsys.readouterr()
    assert "" == shown.out
    assert (
        "gpu-profile: net on cpu-1MiB: no batch size trains in 1.0 MiB: batch 1 out of"
        in (shown.err.splitlines()[-1])
    )
    assert before == lock.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name either a CASE of the matrix, or a workload with --module and --data"),
        ([CASE, "--module", "zoo.Net"], "name either a CASE of the matrix, or a workload"),
        (["nett-cpu-48MiB-1"], "has no case nett-cpu-48MiB-1; did you mean net-cpu-48MiB-1?"),
        ([CASE, "--gpu", "cpu"], "gpu='cpu': the CPU needs a budget"),
        ([CASE, "--gpu", "h100"], "harness.estimate predicts for a GPU that is not here"),
        ([CASE, "--set", "search"], "--set search: write NAME=VALUE, such as search.max_batch_"),
        ([CASE, "--set", "search.step=2"], "gpus.cpu-48MiB.search.step: unknown key"),
        ([CASE, "--set", "search=1", "--set", "search.a=2"], "search has a value by another --set"),
        (
            ["--module", "zoo.Net", "--gpu", "cpu-1MiB", "--set", "serach.a=2"],
            "did you mean search",
        ),
        (["--module", "zoo.Nett", "--gpu", "cpu-1MiB"], "gpu-profile: module.class_path: cannot"),
    ],
)
def test_bad_arguments_exit_with_2(
    project: Project, lock: Path, capsys: Output, arguments: list[str], message: str
) -> None:
    """The message names what was given and what is allowed."""
    assert 2 == main(["tune", *arguments])
    assert message in capsys.readouterr().err
