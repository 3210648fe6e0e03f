"""Verbs that only read find matrix and lockfile as pytest does, and run nothing of a checkout."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import pytest
from command_line import SHOW, Output, configure

from harness.cli.command_line import main
from harness.cli.find_paths import find_paths, read_paths
from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

Files = dict[str, str]

INI = "[pytest]\ngpu_profile_lock = locks/ini.lock\n"
OPTIONS = "[tool.pytest.ini_options]\n"

LAYOUTS: dict[str, tuple[Files, str, str]] = {
    # The files, the folder in which pytest is started, and PYTEST_ADDOPTS.
    "nothing": ({}, ".", ""),
    "setup.py above": ({"setup.py": "", "a/b/x": ""}, "a/b", ""),
    "pytest.ini": ({"pytest.ini": INI}, ".", ""),
    "pytest.ini above": ({"pytest.ini": INI, "a/b/x": ""}, "a/b", ""),
    "pytest.ini without a section": ({"pytest.ini": "", "tox.ini": INI}, ".", ""),
    ".pytest.ini": ({".pytest.ini": INI}, ".", ""),
    "pytest.ini before pyproject": (
        {"pytest.ini": INI, "pyproject.toml": OPTIONS + "gpu_profile_lock = 'py.lock'\n"},
        ".",
        "",
    ),
    "pyproject": ({"pyproject.toml": OPTIONS + "gpu_profile_lock = 'py.lock'\n"}, ".", ""),
    "pyproject with lists": (
        {
            "pyproject.toml": OPTIONS
            + "addopts = ['--gpu-profile-matrix', 'a b/m.yaml']\npythonpath = ['src', 'a b']\n"
        },
        ".",
        "",
    ),
    "pyproject without a table": ({"pyproject.toml": "[project]\n", "a/x": ""}, "a", ""),
    "pyproject without a table, tox.ini above": (
        {"a/pyproject.toml": "[project]\n", "a/b/x": "", "tox.ini": INI},
        "a/b",
        "",
    ),
    "pyproject with an empty table": ({"pyproject.toml": OPTIONS, "tox.ini": INI}, ".", ""),
    "tox.ini": ({"tox.ini": INI}, ".", ""),
    "tox.ini without a section": ({"tox.ini": "[tox]\n", "setup.py": "", "a/x": ""}, "a", ""),
    "setup.cfg": ({"setup.cfg": INI.replace("[pytest]", "[tool:pytest]")}, ".", ""),
    "two projects": ({"pytest.ini": INI, "a/tox.ini": "[pytest]\n", "a/b/x": ""}, "a/b", ""),
    "comments and long values": (
        {
            "pytest.ini": "; c\n[pytest]\n# c\ngpu_profile_matrix : m # no comment.yaml\n"
            "pythonpath =\n  src\n  'a b'\naddopts =\n  -q\n  --gpu-profile-lock=x.lock\n"
        },
        ".",
        "",
    ),
    "addopts": (
        {"pytest.ini": INI + "addopts = -k net -n 2 --gpu-profile-lock 'a b.lock' --unknown=1\n"},
        ".",
        "",
    ),
    "addopts from a folder below": (
        {"pytest.ini": "[pytest]\naddopts = --gpu-profile-lock=x.lock\n", "a/x": ""},
        "a",
        "",
    ),
    "environment before addopts": (
        {"pytest.ini": "[pytest]\naddopts = --gpu-profile-lock=x.lock\n"},
        ".",
        "--gpu-profile-lock=y.lock --gpu-profile-dir d",
    ),
    "another file": ({"pytest.ini": INI, "ci/x.ini": "[pytest]\n"}, ".", "-c ci/x.ini"),
    "another toml": ({"ci/x.toml": OPTIONS + "pythonpath = 'src'\n"}, ".", "-c ci/x.toml"),
    "no file": ({"pytest.ini": INI}, ".", "-c /dev/null"),
    "another rootdir": ({"pytest.ini": INI, "a/x": ""}, ".", "--rootdir a"),
    "overrides": (
        {"pytest.ini": INI, "a/x": ""},
        ".",
        "-o gpu_profile_lock=o.lock -o gpu_profile_matrix=a/m.yaml",
    ),
    "addopts overridden": (
        {"pytest.ini": INI + "addopts = --gpu-profile-lock=x.lock\n"},
        ".",
        "-o addopts=",
    ),
    "matrix above": ({"pytest.ini": "[pytest]\n", "profiles/matrix.yaml": "", "a/x": ""}, "a", ""),
}
if pytest.version_tuple >= (9,):
    LAYOUTS |= {
        "pytest.toml": ({"pytest.toml": "[pytest]\ngpu_profile_lock = 't.lock'\n"}, ".", ""),
        "empty pytest.toml": ({".pytest.toml": "", "pytest.ini": INI}, ".", ""),
        "tool.pytest": (
            {"pyproject.toml": "[tool.pytest]\naddopts = ['--gpu-profile-lock=t.lock']\n"},
            ".",
            "",
        ),
        "custom pytest.toml": ({"a/x.toml": "[pytest]\npythonpath = ['s']\n"}, ".", "-c a/x.toml"),
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_paths_are_those_of_pytest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """Pytest's own answer is the expected one: rootdir, matrix, lockfile, results, modules."""
    files, start, options = LAYOUTS[layout]
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path / start)
    monkeypatch.setenv("PYTEST_ADDOPTS", options)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    asked = argparse.Namespace(matrix=None, lock=None)
    expected = find_paths(asked)
    added = [folder for folder in sys.path if folder not in before]
    monkeypatch.setattr(sys, "path", before)
    actual = read_paths(asked)
    assert (
        [expected.root, expected.matrix, expected.lock, expected.results, expected.searched],
        added,
    ) == (
        [actual.root, actual.matrix, actual.lock, actual.results, actual.searched],
        list(actual.python_path),
    )


EVIL = "open('EXECUTED', 'w').close()\n"


@pytest.mark.parametrize(
    "configuration",
    [
        "addopts = -p evil",
        "addopts = -pevil",
        "addopts = -W error::evil.Warning",
        "filterwarnings = error::evil.Warning",
        "addopts = -c other.ini\nrequired_plugins = nothing-like-it",
        "minversion = 99",
        "addopts = -p no:gpu_profile",
    ],
)
@pytest.mark.parametrize(
    "verb",
    [
        SHOW,
        ["merge", "run/candidate.lock"],
        ["prune"],
        ["diff", *["profiles/gpu-profile.lock"] * 2],
    ],
)
def test_nothing_of_a_checkout_is_run(
    project: Project,
    lock: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: list[str],
    configuration: str,
) -> None:
    """No plugin, warning class, conftest, workload, or module that has the name of Python's own."""
    configure(project, f"pythonpath = .\n{configuration}")
    for name in ("evil", "conftest", "difflib", "tomllib", "gpu_profile"):
        (project.path / f"{name}.py").write_text(EVIL, encoding="utf-8")
    (project.path / "profiles" / "zoo.py").write_text(
        EVIL + "class Net: pass\nclass Numbers: pass\n", encoding="utf-8"
    )
    (project.path / "run").mkdir()
    (project.path / "run" / "candidate.lock").write_bytes(lock.read_bytes())
    modules = set(sys.modules)
    assert main(verb) in (0, 1)
    assert not (project.path / "EXECUTED").exists()
    here = str(project.path)
    new = [sys.modules[name] for name in set(sys.modules) - modules]
    assert [] == [one for one in new if str(getattr(one, "__file__", "")).startswith(here)]


def elsewhere(project: Project) -> Path:
    """Return a lockfile outside of the project."""
    path = project.path.parent / "elsewhere.lock"
    path.write_bytes(project.lock.read_bytes())
    return path


@pytest.mark.parametrize("how", ["ini key", "addopts", "link", "linked folder"])
@pytest.mark.parametrize("verb", ["prune", "merge", "review"])
def test_checkout_sends_no_writing_verb_outside(
    project: Project, lock: Path, capsys: Output, how: str, verb: str
) -> None:
    """What a stranger's files name is not written outside of the project."""
    target = elsewhere(project)
    before = target.read_bytes()
    if how == "ini key":
        configure(project, "gpu_profile_lock = ../elsewhere.lock")
    elif how == "addopts":
        configure(project, "addopts = --gpu-profile-lock=../elsewhere.lock")
    elif how == "link":
        configure(project, "")
        lock.unlink()
        lock.symlink_to(target)
    else:
        configure(project, "gpu_profile_lock = up/elsewhere.lock")
        (project.path / "up").symlink_to(project.path.parent)
    candidate = project.path / "theirs.lock"
    candidate.write_bytes(before.replace(b"batch_size = 3328", b"batch_size = 3000"))
    assert 2 == main([verb, *([str(candidate)] if verb != "prune" else [])])
    assert "outside of the project" in capsys.readouterr().err
    assert before == target.read_bytes()


def test_no_verb_writes_among_gits_files(project: Project, lock: Path, capsys: Output) -> None:
    """A lockfile that an ini key puts below .git is not written."""
    configure(project, "gpu_profile_lock = .git/commondir")
    (project.path / ".git").mkdir()
    assert 2 == main(["merge", str(lock)])
    assert "among git's own" in capsys.readouterr().err
    assert [] == list((project.path / ".git").iterdir())


def test_link_to_itself_is_told(project: Project, lock: Path, capsys: Output) -> None:
    """A lockfile that is a link to itself is named as such."""
    configure(project, "")
    lock.unlink()
    lock.symlink_to(lock.name)
    assert 2 == main(["prune"])
    assert "leads to itself" in capsys.readouterr().err


def test_link_to_nothing_makes_no_file(project: Project, lock: Path, capsys: Output) -> None:
    """A link in a checkout may point at any name in it, such as one that a tool would run."""
    candidate = project.path / "theirs.lock"
    lock.rename(candidate)
    configure(project, "")
    lock.symlink_to(project.path / "new.lock")
    assert 2 == main(["merge", str(candidate)])
    assert "a link to" in capsys.readouterr().err
    assert not (project.path / "new.lock").exists()


def test_lockfile_that_the_command_line_names_is_written(project: Project, lock: Path) -> None:
    """`--lock` may name any file: the user says so."""
    target = elsewhere(project)
    candidate = project.path / "theirs.lock"
    candidate.write_bytes(lock.read_bytes().replace(b"batch_size = 3328", b"batch_size = 3000"))
    assert 0 == main(["merge", "--lock", str(target), str(candidate)])
    assert [3000] == [profile.batch_size for profile in read_lock(target)]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("pytest.ini", "[pytest\n", "pytest.ini"),
        ("pyproject.toml", "[tool\n", "pyproject.toml: "),
        ("pyproject.toml", "x = " + "[" * 5000, "pyproject.toml"),
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '\"'\n", "No closing quotation"),
        ("pyproject.toml", OPTIONS + "gpu_profile_lock = [1]\n", "a text is needed"),
        ("pytest.ini", "[pytest]\naddopts = -c\n", "expected one argument"),
        ("pytest.ini", "[pytest]\n" + "x = 1\n  2\n" * 20_000, "larger than"),
    ],
)
def test_configuration_that_cannot_be_read_is_told(
    project: Project, lock: Path, capsys: Output, *, name: str, text: str, reason: str
) -> None:
    """The message names the file; the exit code is 2."""
    for other in project.path.glob("py*.*"):
        other.unlink()
    (project.path / name).write_text(text, encoding="utf-8")
    assert 2 == main(SHOW)
    assert reason in capsys.readouterr().err
