"""The folders of results: nothing that no run has made is removed or replaced."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from projects import make_files

from harness.errors import HarnessError, MachineError
from harness.file_locks import locked
from harness.run.results import WRITTEN, Results
from harness.run.results_folder import make_results_folder, refuse_project_folder

if TYPE_CHECKING:
    from projects import Project

CASE = "net-cpu-48MiB-1"
PRECIOUS = {"thesis.txt": "three years", "data/samples.csv": "1,2,3"}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Make a folder whose files must survive."""
    return make_files(tmp_path / "victim", PRECIOUS)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Make the results of a run."""
    (tmp_path / "project").mkdir()
    return Results(tmp_path / "project" / ".gpu-profile", 0)


def survivors(folder: Path) -> dict[str, str]:
    """Return the texts of all files below a folder, by name."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def measure(results: Results) -> str:
    """Use a case's folder as a run does; return the error, or nothing."""
    try:
        with results.of_case(CASE):
            (results.folder / CASE / "001-describe.log").write_text("a log", encoding="utf-8")
    except MachineError as error:
        return str(error)
    return ""


def test_second_run_empties_what_the_first_one_left(results: Results) -> None:
    """The logs of an earlier run go, and so do the links and folders that it left."""
    folder = results.folder / CASE
    assert "" == measure(results)
    make_files(folder, {"002-train-b2.log": "", "predicted/001-describe.log": ""})
    assert "" == measure(results)
    assert {".lock", "001-describe.log"} == {path.name for path in folder.iterdir()}
    assert {".gitignore", ".gpu-profile-results", CASE} == {
        path.name for path in results.folder.iterdir()
    }


def test_files_to_be_replaced_stay_and_links_go(results: Results, victim: Path) -> None:
    """Of a folder whose files come all at once, no link leads them elsewhere."""
    folder = results.folder / CASE
    assert "" == measure(results)
    make_files(folder, {"002-train-b2.log": "", "predicted/001-describe.log": ""})
    (folder / "link").symlink_to(victim)
    (folder / "003-lr.log").symlink_to(victim / "thesis.txt")
    os.mkfifo(folder / "pipe")
    with results.of_case(CASE, emptied=False):
        left = {path.name for path in folder.iterdir()}
    assert {".lock", "001-describe.log", "002-train-b2.log"} == left
    assert PRECIOUS == survivors(victim)


def test_link_in_the_place_of_a_cases_folder_is_not_followed(
    results: Results, victim: Path
) -> None:
    """The target of the link is not touched, and the error says what to do."""
    results.folder.mkdir()
    (results.folder / CASE).symlink_to(victim)
    message = measure(results)
    assert f"{CASE} is a link to {victim}: a run empties such a folder" in message
    assert "Remove the link" in message
    assert PRECIOUS == survivors(victim)


def test_folder_that_no_run_made_is_not_emptied(results: Results) -> None:
    """A user's folder under the name of a case keeps its files."""
    make_files(results.folder / CASE, PRECIOUS)
    message = measure(results)
    assert (
        f"{CASE} was made by no run of pytest --gpu-profile and holds data, thesis.txt" in message
    )
    assert PRECIOUS == survivors(results.folder / CASE)


@pytest.mark.parametrize("name", ["link", ".lock", "001-describe.log", "found.json"])
def test_links_inside_of_a_cases_folder_are_removed_not_followed(
    results: Results, victim: Path, name: str
) -> None:
    """A link to a folder, and one in the place of a file that a run writes, leave their targets."""
    assert "" == measure(results)
    target = victim if name == "link" else victim / "thesis.txt"
    (results.folder / CASE / name).unlink(missing_ok=True)
    # A case's folder without its lock would not be a run's.
    (results.folder / CASE / ".lock").touch()
    (results.folder / CASE / name).unlink(missing_ok=True)
    (results.folder / CASE / name).symlink_to(target)
    assert "" == measure(results)
    assert PRECIOUS == survivors(victim)
    assert not (results.folder / CASE / name).is_symlink()


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize("name", [*WRITTEN, ".gitignore"])
@pytest.mark.parametrize("kind", ["link", "broken link", "hard link", "pipe"])
def test_what_stands_in_the_place_of_a_report_is_replaced_not_written_through(
    results: Results, victim: Path, tmp_path: Path, name: str, kind: str
) -> None:
    """Reports go into new files: what a link in their place leads to stays as it is."""
    make_results_folder(results.folder, WRITTEN)
    place = results.folder / name
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "hard link":
        place.hardlink_to(victim / "thesis.txt")
    else:
        place.symlink_to(victim / ("thesis.txt" if kind == "link" else "nothing"))
    results.write([], tmp_path / "gpu-profile.lock")
    results.write_page(tmp_path / "gpu-profile.lock")
    assert PRECIOUS == survivors(victim)
    if name in WRITTEN:
        assert place.is_file()
        assert not place.is_symlink()


def test_link_to_a_folder_with_other_files_is_no_results_folder(
    results: Results, victim: Path
) -> None:
    """A stranger's checkout may hold such a link. A link to an empty folder is the user's own."""
    results.folder.symlink_to(victim)
    assert f".gpu-profile is a link to {victim}, which holds other files (" in measure(results)
    assert PRECIOUS == survivors(victim)
    results.folder.unlink()
    (victim.parent / "scratch").mkdir()
    results.folder.symlink_to(victim.parent / "scratch")
    assert "" == measure(results)


def test_folder_of_the_user_keeps_its_files_and_is_not_hidden_from_git(victim: Path) -> None:
    """Results may go beside other files: these stay, and no .gitignore hides them."""
    results = Results(victim, 0)
    assert "" == measure(results)
    results.write([], victim.parent / "gpu-profile.lock")
    assert not (victim / ".gitignore").exists()
    assert {**survivors(victim), **PRECIOUS} == survivors(victim)


@pytest.mark.parametrize("name", WRITTEN)
def test_report_that_no_run_wrote_is_not_replaced(victim: Path, name: str) -> None:
    """A report.json of another tool, in a folder that no run has used, stays."""
    (victim / name).write_text("mine", encoding="utf-8")
    results = Results(victim, 0)
    assert f"holds {name}, which no run of pytest --gpu-profile has written" in measure(results)
    with pytest.raises(MachineError, match="move what is yours"):
        results.write([], victim.parent / "gpu-profile.lock")
    assert "mine" == (victim / name).read_text(encoding="utf-8")


def test_results_of_runs_before_the_marker_are_known(results: Results) -> None:
    """Folders that hold a run's own .gitignore and locks, and no marker, go on being used."""
    make_files(
        results.folder,
        {".gitignore": "*\n", "report.json": "{}", f"{CASE}/.lock": "", f"{CASE}/old.log": ""},
    )
    assert "" == measure(results)
    assert not (results.folder / CASE / "old.log").exists()


def test_folder_in_use_by_another_run_is_told_in_the_end(results: Results) -> None:
    """The wait for another run in a case's folder is limited, and its error names the holder."""
    assert "" == measure(results)
    with locked(results.folder / CASE / ".lock", "a run"):
        message = measure(results)
    assert f"{CASE}: process {os.getpid()} (" in message
    assert "wait for it or end it" in message


@pytest.mark.parametrize("name", [".", "..", "/", "~"])
def test_folder_of_the_project_is_no_folder_of_results(tmp_path: Path, name: str) -> None:
    """Rootdir, what holds it, and the home folder are refused before anything runs."""
    folder = Path(name).expanduser() if name == "~" else tmp_path / name
    with pytest.raises(HarnessError, match="name a folder of its own"):
        refuse_project_folder(folder, tmp_path)


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_case_behind_a_link_is_an_error_and_the_others_go_on(
    project: Project, tmp_path: Path
) -> None:
    """One case's folder is a link: that case is an error, the next one is measured."""
    victim = make_files(tmp_path / "victim", PRECIOUS)
    project.write_matrix("Net", "NoValidation", cap=2)
    project.results.mkdir()
    (project.results / CASE).symlink_to(victim)
    result = project.run("--gpu-profile", "--gpu-profile-update")
    result.assert_outcomes(passed=1, errors=1, deselected=1)
    assert PRECIOUS == survivors(victim)
    result.stdout.fnmatch_lines([f"*.gpu-profile/{CASE} is a link to *Remove the link*"])
