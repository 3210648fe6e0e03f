"""The files that `gpu-profile init` reads: bounded, and named as imports are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import harness.starting.sources
from harness.starting.sources import read_project

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write(folder: Path, *paths: str, text: str = "") -> None:
    """Write files of the same text."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def modules(folder: Path, *python_path: str) -> list[str]:
    """Return the dotted names of what is read."""
    return [source.module for source in read_project(folder, python_path).files]


def test_modules_have_the_names_of_imports(tmp_path: Path) -> None:
    """Packages and namespaces, in a src layout or not, and folders of pytest's module path."""
    write(tmp_path, "flat.py", "pkg/__init__.py", "pkg/a.py", "space/b.py")
    write(tmp_path, "src/own/__init__.py", "src/own/c.py", "src/d.py", "lib/e.py")
    expected = ["flat", "e", "pkg", "pkg.a", "space.b", "d", "own", "own.c"]
    assert sorted(expected) == sorted(modules(tmp_path, str(tmp_path / "lib")))


def test_scripts_that_import_each_other_are_at_the_top(tmp_path: Path) -> None:
    """Their own folder is the place that they are imported from."""
    write(tmp_path, "scripts/train.py", text="from model import Net\n")
    write(tmp_path, "scripts/model.py")
    assert ["model", "train"] == modules(tmp_path)


def test_what_is_no_code_of_the_project_is_ignored(tmp_path: Path) -> None:
    """Environments of any name, git's files, builds, packages of node, and tests."""
    write(tmp_path, "mine.py", "my_env/pyvenv.cfg", "my_env/lib/a.py", ".git/b.py", "build/c.py")
    write(
        tmp_path, "node_modules/d.py", "tests/e.py", "test_f.py", "conftest.py", "x.egg-info/g.py"
    )
    assert ["mine"] == modules(tmp_path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A loop of links ends, and a link to a file elsewhere is not read."""
    write(tmp_path, "a/mine.py")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "hosts.py").symlink_to("/etc/hosts")
    assert ["a.mine"] == modules(tmp_path)


def test_files_that_cannot_be_parsed_are_named(tmp_path: Path) -> None:
    """A mistake, a null byte, no UTF-8, a deep nesting, a large file: the others are read."""
    write(tmp_path, "a.py", text="x = (\n")
    write(tmp_path, "b.py", text="x\0")
    (tmp_path / "c.py").write_bytes(b"x = '\xff'")
    write(tmp_path, "d.py", text="(" * 5_000)
    write(tmp_path, "e.py", text="#" * (2**20 + 1))
    os.mkfifo(tmp_path / "f.py")
    write(tmp_path, "good.py")
    found = read_project(tmp_path)
    assert ["good"] == [source.module for source in found.files]
    assert ["a.py:1", "b.py", "c.py", "d.py", "e.py"] == [
        note.partition(" was left out")[0].replace(":1", ":1" if note.startswith("a") else "")
        for note in found.notes
    ]


def test_huge_trees_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk ends, and so does the reading; both are told."""
    write(tmp_path, *(f"f{number}.py" for number in range(8)))
    monkeypatch.setattr(harness.starting.sources, "MAX_FILES", 5)
    assert ["only the first 5 Python files were read"] == read_project(tmp_path).notes
    monkeypatch.setattr(harness.starting.sources, "MAX_ENTRIES", 6)
    assert ["only the first 6 files and folders were seen"] == read_project(tmp_path).notes
