"""The page that a run leaves beside its reports."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import canned_measurements as canned
import pytest
from case_results import several

import harness.measure.measuring
from harness.page import library
from harness.run.results import Results

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Make the results of a run."""
    (tmp_path / "project").mkdir()
    return Results(tmp_path / "project" / ".gpu-profile", 0)


@pytest.mark.usefixtures("pages")
def test_run_leaves_a_page_and_names_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of a run has the name of the page before those of the reports."""
    monkeypatch.setattr(harness.measure.measuring, "measure_case", canned.measure_case)
    run = project.run("--gpu-profile")
    run.stdout.fnmatch_lines(
        ["results in .gpu-profile: report.html, report.md, report.json, candidate.lock"]
    )
    text = (project.path / ".gpu-profile" / "report.html").read_text(encoding="utf-8")
    assert "net-cpu-48MiB-1" in text


def test_without_the_extra_there_is_none(results: Results, tmp_path: Path) -> None:
    """Nor is that of an earlier run left there, for it would show other results."""
    results.write([], tmp_path / "gpu-profile.lock")
    (results.folder / "report.html").write_text("of an earlier run", encoding="utf-8")
    lock = tmp_path / "gpu-profile.lock"
    results.write(several(), lock)
    assert ((), False) == (results.write_page(lock), results.has_page)


@pytest.mark.usefixtures("pages")
def test_a_page_that_fails_is_told_and_fails_nothing(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reports are written all the same."""
    monkeypatch.setattr(library, "_SNIPPET", "no ( script")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lock = tmp_path / "gpu-profile.lock"
    results.write(several(), lock)
    (warning,) = results.write_page(lock)
    assert warning.startswith("report.html is not written: ")
    assert not results.has_page
    assert (results.folder / "report.json").is_file()


@pytest.mark.usefixtures("pages")
def test_a_module_that_only_looks_like_the_extra_fails_nothing(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conftest may put a stub in its place, of which Python cannot say where it is."""
    monkeypatch.setitem(sys.modules, "jinja2", ModuleType("jinja2"))
    lock = tmp_path / "gpu-profile.lock"
    results.write(several(), lock)
    assert ("report.html is not written: jinja2.__spec__ is None",) == results.write_page(lock)
