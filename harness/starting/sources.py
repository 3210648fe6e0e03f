"""Reads a project's Python files, a bounded number of them, without importing any."""

from __future__ import annotations

import ast
import importlib.util
import os
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.matrix.class_paths.source_names import Names, names_of, parse_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_FILES = 2_000
"""The most Python files that are read."""
MAX_ENTRIES = 100_000
"""The most names in folders that are looked at."""
_MAX_BYTES = 2**20
_MAX_ALL_BYTES = 32 * 2**20
_IGNORED = frozenset(
    {
        "__pycache__",
        "build",
        "conda-meta",
        "dist",
        "env",
        "node_modules",
        "site-packages",
        "test",
        "testing",
        "tests",
        "venv",
    }
)
_IGNORED_FILES = frozenset({"conftest.py", "noxfile.py", "setup.py"})


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read."""

    shown: str
    """The path from the project's root."""
    module: str
    """The dotted name by which the file is imported."""
    base: Path
    """The folder of the module path from which it is imported."""
    tree: ast.Module
    names: Names


@dataclass(slots=True)
class Sources:
    """All that was read of a project."""

    files: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""


def read_project(root: Path, python_path: Sequence[str] = ()) -> Sources:
    """Read the Python files below `root`; tests, environments and builds are left out.

    python_path: the folders that pytest adds to the module path.
    """
    found = Sources()
    trees: dict[Path, ast.Module] = {}
    room = _MAX_ALL_BYTES
    for path in _paths(root, found.notes):
        if len(trees) >= MAX_FILES or room <= 0:
            found.notes.append(f"only the first {len(trees)} Python files were read")
            break
        shown = str(path.relative_to(root))
        try:
            data = read_bounded(path, _MAX_BYTES) or b""
            room -= len(data)
            trees[path] = parse_source(importlib.util.decode_source(data))
        except UnreadableFileError as error:
            found.notes.append(f"{shown} was left out: {error}")
        except SyntaxError as error:
            found.notes.append(f"{shown}:{error.lineno or 1} was left out: {error.msg}")
        except (ValueError, RecursionError, MemoryError):
            found.notes.append(f"{shown} was left out: Python cannot parse it")
    bases = _bases(root, [Path(folder) for folder in python_path], trees)
    for path, tree in trees.items():
        parts = path.relative_to(bases[path]).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        module = ".".join(parts)
        names = names_of(tree, module, is_package=path.name == "__init__.py")
        found.files.append(Source(str(path.relative_to(root)), module, bases[path], tree, names))
    return found


def _paths(root: Path, notes: list[str]) -> Iterator[Path]:
    """Yield Python files, those of upper folders first; links are not followed."""
    folders = deque([root])
    room = MAX_ENTRIES
    while folders:
        try:
            with os.scandir(folders.popleft()) as entries:
                here = sorted(islice(entries, room + 1), key=lambda entry: entry.name)
        except OSError:
            continue
        room -= len(here)
        if room < 0:
            notes.append(f"only the first {MAX_ENTRIES} files and folders were seen")
            return
        if any(entry.name == "pyvenv.cfg" for entry in here):
            continue  # a virtual environment of any name
        for entry in here:
            if entry.is_file(follow_symlinks=False) and _is_code(entry.name):
                yield Path(entry.path)
            elif entry.is_dir(follow_symlinks=False) and _may_have_code(entry.name):
                folders.append(Path(entry.path))


def _may_have_code(name: str) -> bool:
    return not name.startswith(".") and name not in _IGNORED and not name.endswith(".egg-info")


def _is_code(name: str) -> bool:
    is_test = name.startswith("test_") or name.endswith("_test.py")
    return name.endswith(".py") and name[0] != "." and not is_test and name not in _IGNORED_FILES


def _bases(
    root: Path, python_path: Sequence[Path], trees: dict[Path, ast.Module]
) -> dict[Path, Path]:
    """Return the folder from which each file is imported."""
    known = [folder for folder in python_path if folder.is_relative_to(root)]
    source = root / "src"
    if source.is_dir() and not (source / "__init__.py").exists():
        known.append(source)
    known.append(root)
    scripts = _script_folders(trees)
    bases = {}
    for path in trees:
        folder = path.parent
        while folder != root and (folder / "__init__.py").exists():
            folder = folder.parent
        if folder == path.parent and folder not in scripts:
            inside = [base for base in known if folder.is_relative_to(base)]
            folder = max(inside, key=lambda base: len(base.parts))
        bases[path] = folder
    return bases


def _script_folders(trees: dict[Path, ast.Module]) -> set[Path]:
    """Return the folders without `__init__.py` whose files import each other by bare names."""
    stems: dict[Path, set[str]] = {}
    for path in trees:
        stems.setdefault(path.parent, set()).add(path.stem)
    found = set()
    for path, tree in trees.items():
        beside = stems[path.parent] - {path.stem}
        if not (path.parent / "__init__.py").exists() and beside & set(_imported(tree)):
            found.add(path.parent)
    return found


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
