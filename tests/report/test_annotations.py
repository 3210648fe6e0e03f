"""Annotations: at the line of a failed case and of what grew, escaped, within GitHub's limits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from case_results import locked, measurement, result, unmeasured

from harness.report.annotations import SHOWN, annotation_commands
from harness.run.annotating import annotations_of

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

    from harness.report.case_result import CaseResult

MIB = 1 << 20


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a repository with a matrix and a module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    for name in ("profiles/matrix.yaml", "net.py"):
        (tmp_path / name).touch()
    return tmp_path


def commands(workspace: Path, *results: CaseResult, line: int = 7) -> list[str]:
    """Return the annotations of results whose models all stand in one line."""
    matrix = workspace / "profiles" / "matrix.yaml"
    return annotation_commands(results, matrix, lambda _: line, workspace)


def grown(line: str, model: str = "resnet18") -> CaseResult:
    """Return a failed case with 4 MiB more at a line than when it was locked."""
    axes = {"model": model, "gpu": "cpu-256MiB", "resolution": 32}
    now = measurement(
        axes=axes,
        max_batch_size=10,
        predicted_at_locked={"activation of a": 14 * MIB},
        predicted_lines={"activation of a": line},
    )
    profile = replace(locked(axes=axes), predicted_peak={"activation of a": 10 * MIB})
    return replace(result(now, profile), reason=None)


def test_failed_case_is_an_error_at_its_model(workspace: Path) -> None:
    """File, line and title are properties, and the headline is the message; others have none."""
    failed = result(measurement(max_batch_size=300), locked())
    (told,) = commands(workspace, failed, result(lock=locked()), unmeasured("skipped", "no GPU"))
    assert (
        "::error file=profiles/matrix.yaml,line=7,title=resnet18-cpu-256MiB-32::"
        "max batch 300 (-36.3%25) where at least 462 is allowed"
    ) == told


def test_line_that_holds_more_is_a_warning(workspace: Path) -> None:
    """Cases that share the line share the annotation."""
    *_, told = commands(workspace, grown("net.py:33"), grown("net.py:33", "vit"))
    assert (
        "::warning file=net.py,line=33,"
        "title=more memory%3A resnet18-cpu-256MiB-32%2C vit-cpu-256MiB-32::"
        "resnet18-cpu-256MiB-32: activation of a holds 14.0 MiB, locked 10.0 MiB; "
        "vit-cpu-256MiB-32: activation of a holds 14.0 MiB, locked 10.0 MiB"
    ) == told


@pytest.mark.parametrize(
    "line", ["../net.py:1", "timm/layers.py:3", "", "net.py", "net.py:x", ":3"]
)
def test_line_outside_of_the_repository_is_none(workspace: Path, line: str) -> None:
    """A file of a library, or one that is not there, is not annotated."""
    (workspace.parent / "net.py").touch()
    assert ["::error"] == [one.split(" ")[0] for one in commands(workspace, grown(line))]


def test_hostile_words_stay_in_their_place(workspace: Path) -> None:
    """What ends a property, a line or a command is encoded."""
    hostile = replace(unmeasured("error", "a%0Ab\r\n::error::x, y: z"), case_id="x,line=1::y%\n")
    (told,) = commands(workspace, hostile)
    assert (
        "::error file=profiles/matrix.yaml,line=7,title=x%2Cline=1%3A%3Ay%25\\n::a%250Ab\\r"
    ) == told


def test_limits_of_github(workspace: Path) -> None:
    """Of many failures nine are shown, and the tenth annotation names the others, cut."""
    told = commands(workspace, *(unmeasured("error", "x", model=f"m{n:03}") for n in range(300)))
    assert SHOWN == len(told)
    assert told[-1].startswith("::error title=291 more annotations::m009-cpu-256MiB-32, ")
    assert len(told[-1]) < 600


def test_matrix_outside_of_the_repository(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """GitHub could not show it: the annotation has no file then."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "matrix.yaml"
    elsewhere.touch()
    told = annotation_commands([unmeasured("error", "x")], elsewhere, lambda _: 1, workspace)
    assert ["::error title=resnet18-cpu-256MiB-32::x"] == told


def test_run_annotates_in_github(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole run prints the command at the model's line, in a line of its own."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path))
    told = [line for line in project.run("--gpu-profile").outlines if line.startswith("::")]
    matrix = (project.path / "profiles" / "matrix.yaml").read_text(encoding="utf-8")
    number = 1 + next(n for n, line in enumerate(matrix.splitlines()) if line.startswith("  net: "))
    place = f"file=profiles/matrix.yaml,line={number},title=net-cpu-48MiB-1"
    assert [f"::error {place}::never locked on cpu, 48.0 MiB"] == told


def test_no_other_run_annotates(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, or under another CI system, the commands would only be noise."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert [] == annotations_of([unmeasured("error", "x")], workspace / "profiles" / "matrix.yaml")


def test_matrix_that_is_gone_has_no_lines(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix that is removed during the run is no error at its end."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(workspace))
    told = annotations_of([unmeasured("error", "x")], workspace / "gone.yaml")
    assert ["::error title=resnet18-cpu-256MiB-32::x"] == told
