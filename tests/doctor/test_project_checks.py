"""What doctor says of matrix, lockfile, merge driver and results."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from command_line import of_case
from doctor import findings, not_ok

from harness.doctor import project as checks
from harness.identity.recipe import recipe
from harness.lockfile.write import update_lock
from harness.matrix.cases import load_matrix

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

RELOCK = "`pytest --gpu-profile --gpu-profile-update`"


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Work in a project with one case and without a lockfile."""
    monkeypatch.chdir(project.path)
    return project


def lock_fresh(project: Project) -> None:
    """Lock the project's case by today's recipe."""
    matrix = project.path / "profiles" / "matrix.yaml"
    case = load_matrix(matrix, search_path=(str(matrix.parent),))[0]
    made = recipe(case, {})
    update_lock(project.lock, [of_case(recipe=made.digest, settings=made.settings)])


def test_folder_without_a_matrix_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no matrix yet learns where one belongs; nothing is wrong."""
    monkeypatch.chdir(tmp_path)
    ((level, text),) = not_ok(checks.matrix)
    assert "note" == level
    assert f"no profiles/matrix.yaml in {tmp_path}" in text
    assert [] == findings(checks.lock)


def test_mistakes_of_the_matrix_have_their_lines(here: Project) -> None:
    """An unknown key, and a class path whose module is not installed, are told at once."""
    path = here.path / "profiles" / "matrix.yaml"
    text = path.read_text(encoding="utf-8").replace("zoo.Net", "transformerz.Net")
    path.write_text(text + "boundz: {}\n", encoding="utf-8")
    ((level, told),) = not_ok(checks.matrix)
    assert "wrong" == level
    module, key = told.splitlines()
    assert "profiles/matrix.yaml:7: " in module
    assert "there is no module transformerz" in module
    assert f"profiles/matrix.yaml:{len(text.splitlines()) + 1}: boundz" in key


def test_configuration_that_cannot_be_read_is_told_once(here: Project) -> None:
    """Without it nobody knows where the lockfile is: one check tells, the others are silent."""
    (here.path / "pytest.ini").write_text("[pytest\n", encoding="utf-8")
    told = [
        found for check in (checks.matrix, checks.lock, checks.results) for found in not_ok(check)
    ]
    assert ["wrong"] == [level for level, _ in told]
    assert "pytest.ini" in told[0][1]


def test_missing_lockfile_is_a_note(here: Project) -> None:
    """The command that writes one is told."""
    expected = f"profiles/gpu-profile.lock: not there: nothing is locked yet -> {RELOCK}"
    assert [("note", expected)] == not_ok(checks.lock)


def test_lock_of_today_is_ok(here: Project) -> None:
    """Each case is locked by today's recipe; no workload was built to tell so."""
    lock_fresh(here)
    assert [] == not_ok(checks.lock)


def test_what_differs_between_lock_and_matrix_is_counted(here: Project) -> None:
    """A case that is not locked, one of an older recipe, and a profile without a case."""
    path = here.path / "profiles" / "matrix.yaml"
    text = path.read_text(encoding="utf-8").replace("resolution: [1]", "resolution: [1, 2]")
    path.write_text(text, encoding="utf-8")
    update_lock(here.lock, [of_case(recipe="sha256:old"), of_case("gone")])
    name = "profiles/gpu-profile.lock"
    expected = [
        f"{name}: 1 never locked: net-cpu-48MiB-2 -> {RELOCK}",
        (
            f"{name}: 1 locked with another recipe: net-cpu-48MiB-1 -> {RELOCK}; `gpu-profile check` "
            "says why"
        ),
        f"{name}: 1 no case of the matrix: gone-cpu-48MiB-1 -> `gpu-profile prune`",
    ]
    assert [("note", line) for line in expected] == not_ok(checks.lock)


def test_merge_conflict_in_the_lock_is_wrong(here: Project) -> None:
    """Its line is told, and both ways out."""
    lock_fresh(here)
    text = here.lock.read_text(encoding="utf-8")
    here.lock.write_text(f"{text}<<<<<<< HEAD\n=======\n>>>>>>> other\n", encoding="utf-8")
    ((level, told),) = not_ok(checks.lock)
    assert "wrong" == level
    assert f"gpu-profile.lock:{len(text.splitlines()) + 1}: a merge conflict" in told
    assert "git checkout --theirs" in told


def test_merge_driver_that_this_clone_lacks_is_a_note(here: Project) -> None:
    """`.gitattributes` is committed, and the driver itself is not: each clone sets it."""
    lock_fresh(here)
    git = shutil.which("git")
    if git is None:
        pytest.skip("no git here")
    subprocess.run([git, "init", "-q"], check=True)
    (here.path / ".gitattributes").write_text("*.lock merge=gpu-profile\n", encoding="utf-8")
    ((level, told),) = not_ok(checks.lock)
    assert "note" == level
    assert "this clone does not have it" in told
    command = told.partition("-> `")[2].partition("`")[0]
    subprocess.run([git, *shlex.split(command)[1:]], check=True)
    assert [] == not_ok(checks.lock)


def test_results_that_cannot_be_written_are_wrong(here: Project) -> None:
    """A file lies where the folder is to be."""
    assert [] == not_ok(checks.results)
    assert not here.results.exists()
    here.results.write_text("", encoding="utf-8")
    ((level, told),) = not_ok(checks.results)
    assert "wrong" == level
    assert ".gpu-profile: .gpu-profile is no folder" in told


def test_full_disk_is_wrong(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 64 MiB a run would fail in its middle; the rest is told with its unit."""
    usage = shutil.disk_usage(os.curdir)._replace(free=5 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    ((level, told),) = not_ok(checks.results)
    assert "wrong" == level
    assert ".gpu-profile: 5.0 MiB of disk left" in told
