"""Restricts a run's collection to profile modules, wherever `testpaths` point."""

from __future__ import annotations

import glob
import os
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.run.profile_modules import ProfileModules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Collection:
    """The profile modules of a run, and the places in which pytest looks for them.

    Args:
        config: pytest's configuration, which need not be complete yet.
        matrix: path of the matrix: profile modules are often beside it.

    """

    def __init__(self, config: pytest.Config, matrix: Path) -> None:
        self._config = config
        self._matrix = matrix
        self._root = config.rootpath
        self._here = config.invocation_params.dir
        self._modules = ProfileModules(
            config.rootpath, config.getini("python_files"), config.getini("norecursedirs")
        )
        self._arguments: list[str] = []
        self._found: dict[str, Path] = {}

    def load_conftests_of_modules(self, parser: pytest.Parser, arguments: Sequence[str]) -> None:
        """Let pytest load the conftests of profile modules at its start, and no others."""
        given = self._config.known_args_namespace
        if given.pyargs:
            return
        self._arguments = self._find(given.file_or_dir)
        _, unknown = parser.parse_known_and_unknown_args(list(arguments), copy(given))
        # An option that pytest does not know yet may be one of a conftest in `testpaths`.
        if self._arguments and not unknown:
            given.file_or_dir = self._arguments

    def restrict(self) -> None:
        """Let pytest collect the modules that were found, but those that it is told to ignore."""
        if not self._arguments:
            return
        kept = [argument for argument in self._arguments if not self._is_ignored(argument)]
        self._config.args = kept or self._config.args
        self._config.args_source = pytest.Config.ArgsSource.ARGS

    def is_other(self, path: Path) -> bool:
        """Return whether a file or a folder has nothing to do with profiles."""
        return not self._modules.holds(path)

    def _is_ignored(self, argument: str) -> bool:
        """Return whether `--ignore` or a conftest leaves out a module, if it was not named."""
        place = self._found.get(argument)
        path = Path(argument)
        while place is not None and path != place:
            if self._config.hook.pytest_ignore_collect(collection_path=path, config=self._config):
                return True
            path = path.parent
        return False

    def _find(self, given: Sequence[str]) -> list[str]:
        """Return the arguments for pytest; empty where it shall take those that it has.

        A given folder stands for the modules below it. Where nothing is given, the modules are
        those where pytest would look and those beside the matrix, else all below rootdir.
        """
        if given:
            return [found for argument in given for found in self._expand(argument)]
        for folders in self._places():
            if found := self._in(folders):
                return found
        return []

    def _places(self) -> Iterator[list[Path]]:
        """Yield the folders to look in, one group after the other."""
        beside = self._matrix.parent
        if self._here != self._root and self._here.is_relative_to(self._root):
            yield [self._here]
            if beside.parent != self._root:
                yield [beside]  # a project below rootdir has modules and a matrix of its own
        # A matrix that a flag names elsewhere comes without the modules beside it.
        yield [*self._test_paths(), *([beside] if beside.is_relative_to(self._root) else [])]
        yield [beside]
        yield [self._root]

    def _expand(self, argument: str) -> list[str]:
        path = Path(os.path.abspath(self._here / argument))  # noqa: PTH100 - links are kept
        if not path.is_dir():
            return [argument]
        return self._in([path])

    def _test_paths(self) -> list[Path]:
        found = [
            self._root / name
            for pattern in self._config.getini("testpaths")
            for name in sorted(glob.glob(pattern, root_dir=self._root, recursive=True))  # noqa: PTH207 - as pytest does, absolute patterns too
        ]
        return found or [self._root]

    def _in(self, places: Iterable[Path]) -> list[str]:
        found = {
            str(module): place
            for place in places
            for module in (self._modules.below(place) if place.is_dir() else (place,))
        }
        self._found |= found
        return list(found)
