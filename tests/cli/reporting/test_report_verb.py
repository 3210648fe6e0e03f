"""The verb `report`: which report it reads, what it writes, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from case_results import measurement, result, several
from command_line import Output, configure
from json_documents import document
from page_reports import as_json

from harness.cli.command_line import main
from harness.page import library

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project


@pytest.fixture
def last_run(project: Project) -> Path:
    """Return the report that the last run has left in a project."""
    return write(project.path / ".gpu-profile")


def write(folder: Path) -> Path:
    """Write the report of a run into a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / "report.json"
    path.write_text(json.dumps(as_json(*several())), encoding="utf-8")
    return path


@pytest.mark.usefixtures("last_run")
def test_page_of_the_last_run(project: Project, capsys: Output) -> None:
    """Without a name it is the report in the folder of results; the answer names the page."""
    assert 0 == main(["report", "--html", "out.html"])
    assert capsys.readouterr().out.startswith("wrote out.html: 5 cases, ")
    assert (project.path / "out.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_folder_of_results_is_that_of_the_ini_file(project: Project) -> None:
    """The ini key `gpu_profile_dir` leads to the report, as in a run."""
    configure(project, "gpu_profile_dir = results")
    write(project.path / "results")
    assert 0 == main(["report", "--html", "out.html"])


def test_other_report_is_named(project: Project, capsys: Output) -> None:
    """The report may come from another machine."""
    write(project.path / "downloaded")
    found = document(capsys, "report", "downloaded/report.json", "--html", "out.html", code=0)
    assert ("out.html", 5) == (found["path"], found["cases"])
    assert (project.path / "out.html").stat().st_size == found["size_bytes"]


def test_reports_of_several_machines_are_one_page(project: Project, capsys: Output) -> None:
    """A case that one machine has skipped is as another has found it."""
    skipped, *others = several()
    (project.path / "one").mkdir()
    first = project.path / "one" / "report.json"
    first.write_text(json.dumps(as_json(skipped, *others)), encoding="utf-8")
    elsewhere = measurement(axes=skipped.axes, max_batch_size=777, batch_size=777)
    second = project.path / "two.json"
    second.write_text(json.dumps(as_json(result(elsewhere))), encoding="utf-8")
    assert 0 == main(["report", str(first), str(second), "--html", "out.html"])
    assert "5 cases" in capsys.readouterr().out
    text = (project.path / "out.html").read_text(encoding="utf-8")
    assert "3 failed, 1 error, 1 passed" in text
    assert '<td class="number">777</td>' in text


@pytest.mark.usefixtures("project")
def test_missing_report_is_told(capsys: Output) -> None:
    """Without a run there is no page."""
    assert 2 == main(["report", "--html", "out.html"])
    assert ".gpu-profile/report.json does not exist; each run of" in capsys.readouterr().err


def test_only_a_name_of_a_page_is_written(last_run: Path, capsys: Output) -> None:
    """A report is not overwritten by a slip of the hand."""
    before = last_run.read_bytes()
    assert 2 == main(["report", "--html", str(last_run)])
    assert "a page is HTML; end the name in .html" in capsys.readouterr().err
    assert before == last_run.read_bytes()


@pytest.mark.usefixtures("last_run")
def test_without_the_extra_the_command_that_installs_it_is_named(
    project: Project, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written then."""
    monkeypatch.setattr(library, "find_spec", lambda name: None if name == "vl_convert" else name)
    assert 2 == main(["report", "--html", "out.html"])
    said = " ".join(capsys.readouterr().err.split())
    assert "needs vl-convert-python, which is not installed" in said
    assert "pip install 'pytest-gpu-profile[report]'" in said
    assert not (project.path / "out.html").exists()


@pytest.mark.usefixtures("last_run")
def test_format_of_a_service_is_printed_alone(capsys: Output) -> None:
    """It is JSON for that service; under `--json` it stands in the document."""
    assert 0 == main(["report", "--format", "bencher"])
    printed = json.loads(capsys.readouterr().out)
    told = document(capsys, "report", "--format", "bencher", code=0)
    assert ("bencher", printed, None) == (told["format"], told["content"], told["path"])


@pytest.mark.usefixtures("last_run")
def test_page_and_format_exclude_each_other(capsys: Output) -> None:
    """One of them is needed."""
    for arguments in (["--html", "out.html", "--format", "bencher"], []):
        told = document(capsys, "report", *arguments, code=2, kind="error")
        assert "usage" == told["error"]["kind"]
