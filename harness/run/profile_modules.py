"""Finds the test modules that profile by their text, without importing anything of a project.

A project's other tests may be slow to import, or may need what is not installed here.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FIXTURE = "gpu_profile"
_TEST = "test_gpu_profile"
_MODULE = "harness.testing"
_MENTIONED = re.compile(rb"gpu_profile|harness\.testing|from\s+harness\s+import")
# No module that people write is larger.
_MAX_BYTES = 4 << 20


class ProfileModules:
    """The profile modules below a root.

    A profile module imports `harness.testing`, or has a test on the fixture `gpu_profile`, or on a
    fixture of a conftest.py that uses `gpu_profile`. One that cannot be parsed counts, if its text
    mentions these: its error must be seen.

    Args:
        root: the folder above which no conftest.py counts.
        patterns: pytest's `python_files`.
        skipped: pytest's `norecursedirs`.

    """

    def __init__(self, root: Path, patterns: Sequence[str], skipped: Sequence[str]) -> None:
        self._root = root
        self._patterns = patterns
        self._skipped = skipped
        self._fixtures: dict[Path, frozenset[str]] = {}
        self._below: dict[Path, tuple[Path, ...]] = {}

    def below(self, folder: Path) -> tuple[Path, ...]:
        """Return the profile modules in a folder and below it, in pytest's order."""
        if folder not in self._below:
            self._below[folder] = tuple(self._walk(folder, frozenset()))
        return self._below[folder]

    def holds(self, path: Path) -> bool:
        """Return whether a file is a profile module, or whether a folder has one below it."""
        return bool(self.below(path)) if path.is_dir() else self._is_one(path)

    def _walk(self, folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
        """Yield the modules below a folder; a link that leads back to a folder above is left."""
        try:
            status = folder.stat()
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            return
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir():
                if not self._is_skipped(path):
                    yield from self._walk(path, above | {here})
            elif entry.name.endswith(".py") and self._is_one(path):
                yield path

    def _is_skipped(self, folder: Path) -> bool:
        return (
            any(_matches(folder, pattern) for pattern in self._skipped)
            or (folder / "pyvenv.cfg").exists()
            or (folder / "conda-meta").exists()
        )

    def _is_one(self, path: Path) -> bool:
        if not any(_matches(path, pattern) for pattern in self._patterns):
            return False
        fixtures = self._fixtures_in(path.parent)
        text = _read(path)
        mentions = _MENTIONED.search(text) or any(name.encode() in text for name in fixtures)
        if not mentions:
            return False
        tree = _parse(text)
        return tree is None or _profiles(tree, fixtures | {_FIXTURE})

    def _fixtures_in(self, folder: Path) -> frozenset[str]:
        """Return the fixtures that the folder's conftest.py, and those above it, base on ours."""
        if folder not in self._fixtures:
            known: frozenset[str] = frozenset()
            if folder not in (self._root, folder.parent):
                known = self._fixtures_in(folder.parent)
            text = _read(folder / "conftest.py")
            if known or _MENTIONED.search(text):
                tree = _parse(text)
                known |= _based_on(tree, known | {_FIXTURE}) if tree is not None else known
            self._fixtures[folder] = known
        return self._fixtures[folder]


def _matches(path: Path, pattern: str) -> bool:
    """Return whether a path matches a pattern in the way of pytest's ini keys."""
    if "/" not in pattern:
        return fnmatch(path.name, pattern)
    return fnmatch(str(path), pattern if pattern.startswith("/") else f"*/{pattern}")


def _read(path: Path) -> bytes:
    """Return a file's text as bytes; empty where there is no such file."""
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return b""
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return b""


def _parse(text: bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _profiles(tree: ast.Module, fixtures: frozenset[str]) -> bool:
    """Return whether a module uses one of the fixtures, or imports the test of every case."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(alias.name == _MODULE for alias in names):
                return True
            case ast.ImportFrom(module=module, names=names) if (
                module == _MODULE
                or any(alias.name in (_TEST, *fixtures) for alias in names)
                or (module == "harness" and any(alias.name == "testing" for alias in names))
            ):
                return True
            # An argument of a test, `usefixtures("gpu_profile")`, `base.test_gpu_profile`.
            case ast.arg(arg=name) | ast.Constant(value=str(name)) if name in fixtures:
                return True
            case ast.Attribute(attr=name) if name == _TEST:
                return True
    return False


def _based_on(tree: ast.Module, fixtures: frozenset[str]) -> frozenset[str]:
    """Return the functions of a conftest.py that take one of the fixtures, also through others."""
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    found: set[str] = set()
    while True:
        known = fixtures | found
        more = {
            name
            for function in functions
            if any(arg.arg in known for arg in (*function.args.args, *function.args.kwonlyargs))
            for name in _names(function)
        }
        if more <= found:
            return frozenset(found)
        found |= more


def _names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield the name of a function, and the one that its decorator gives: `fixture(name="x")`."""
    yield function.name
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call):
            for keyword in decorator.keywords:
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)
