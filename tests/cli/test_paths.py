"""The `gpu-profile` command finds matrix, lockfile and modules in the way of pytest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from command_line import SHOW, Output, configure

from harness.cli.command_line import main
from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from projects import Project


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param("no_such_key = 3\nstrict_config = true", id="unknown key"),
        pytest.param("addopts = --option-of-the-conftest", id="option of a conftest"),
        pytest.param(
            "addopts = -p no:cacheprovider -n 2 --version", id="options that change a run"
        ),
        pytest.param("addopts = --cov=. --cov-report=html", id="coverage"),
    ],
)
def test_configuration_for_tests_is_no_obstacle(
    project: Project, lock: Path, capsys: Output, configuration: str
) -> None:
    """No conftest is imported, unknown options are ignored, and pytest prints nothing."""
    (project.path / "conftest.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    configure(project, configuration)
    before = sorted(project.path.iterdir())
    assert 0 == main(SHOW)
    assert ("3328\n", "") == capsys.readouterr()
    assert before == sorted(project.path.iterdir())


CHECK = ["check"]


def ini_keys(project: Project) -> None:
    """Name another lockfile in the ini file, and start below rootdir."""
    (project.path / "locks").mkdir()
    project.lock.rename(project.path / "locks" / "team.lock")
    configure(project, "gpu_profile_lock = locks/team.lock")
    (project.path / "below").mkdir()
    os.chdir(project.path / "below")


def matrix_moved(project: Project) -> None:
    """Move the matrix, and the lockfile beside it."""
    (project.path / "profiles").rename(project.path / "conf")
    configure(project, "gpu_profile_matrix = conf/matrix.yaml")


def flag_in_addopts(project: Project) -> None:
    """Name the lockfile by a flag in `addopts`."""
    project.lock.rename(project.path / "team.lock")
    configure(project, "addopts = --gpu-profile-lock=team.lock\ngpu_profile_lock = nowhere.lock")


@pytest.mark.parametrize("arrange", [ini_keys, matrix_moved, flag_in_addopts])
def test_paths_are_those_of_a_run_started_here(
    project: Project, lock: Path, capsys: Output, arrange: Callable[[Project], None]
) -> None:
    """A flag's path is relative to the working directory, an ini key's to rootdir."""
    arrange(project)
    assert 0 == main(SHOW)
    assert "3328\n" == capsys.readouterr().out


def test_own_flags_come_first(project: Project, lock: Path, capsys: Output) -> None:
    """`--matrix` and `--lock` override all else; they are relative to the working directory."""
    configure(
        project, "addopts = --gpu-profile-lock=nowhere.lock\ngpu_profile_matrix = nowhere.yaml"
    )
    os.chdir(project.path / "profiles")
    assert 0 == main(["prune", "--matrix", "matrix.yaml", "--lock", "gpu-profile.lock"])
    assert 1 == len(read_lock(lock))


def test_modules_are_found_as_pytest_finds_them(project: Project, lock: Path) -> None:
    """Class paths of the matrix are also looked up in the folders of the ini key `pythonpath`."""
    (project.path / "src").mkdir()
    (project.path / "profiles" / "zoo.py").rename(project.path / "src" / "elsewhere.py")
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("zoo.", "elsewhere.")
    matrix.write_text(text, encoding="utf-8")
    assert 2 == main(["prune"])
    configure(project, "pythonpath = src")
    assert 0 == main(["prune"])


@pytest.mark.parametrize(
    ("configuration", "variables", "message"),
    [
        ("minversion = 99", {}, "cannot start here: "),
        ("addopts = -p no_such_plugin", {}, 'Error importing plugin "no_such_plugin"'),
        ("addopts = -p raising", {}, "cannot start here: "),
        ("", {"PYTEST_ADDOPTS": "'"}, "cannot start here: ValueError: No closing quotation"),
        (
            "",
            {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            "pytest does not load the plugin gpu_profile here",
        ),
        ("addopts = -p no:gpu_profile", {}, "pytest does not load the plugin gpu_profile here"),
    ],
)
def test_pytest_that_cannot_start_is_told_and_exits_with_2(
    project: Project,
    lock: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    *,
    configuration: str,
    variables: dict[str, str],
    message: str,
) -> None:
    """The message gives pytest's reason, without a traceback, and the exit code is 2."""
    configure(project, configuration)
    monkeypatch.syspath_prepend(project.path)
    (project.path / "raising.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert 2 == main(CHECK)
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
