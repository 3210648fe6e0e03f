"""Resolves the paths that a run reads and writes."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.matrix.cases import load_matrix
from harness.probes.open_cases import Surroundings
from harness.run.nearest_matrix import search_upward

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.case import Case
    from harness.matrix.presets import PresetChoice
    from harness.run.configuration import Configuration

LOCK_NAME = "gpu-profile.lock"
RESULTS_NAME = ".gpu-profile"


@dataclass(frozen=True)
class Paths:
    """The paths that a run reads and writes."""

    matrix: Path
    lock: Path
    results: Path
    root: Path
    """pytest's rootdir."""
    given: tuple[tuple[str, str], ...] = ()
    """`matrix` and `lock` as the command line gave them; empty where it did not."""
    searched: tuple[Path, ...] = ()
    """The folders in which no matrix was found; empty where its path is given, or one was found."""
    python_path: tuple[str, ...] = ()
    """The folders of the ini key `pythonpath`, where pytest has not put them into `sys.path`."""

    @classmethod
    def resolve(cls, config: Configuration, flags: Mapping[str, str | None]) -> Paths:
        """Return the paths of pytest's configuration.

        A flag's path is relative to the folder in which pytest was started. The path of an ini key
        is relative to rootdir. Without either, the matrix is the nearest `profiles/matrix.yaml` in
        the working directory or above it. The lockfile is beside the matrix by default, and the
        results are in rootdir.

        flags: the values of the command line, None where a flag is not given.
        """

        def chosen(name: str) -> Path | None:
            flag = flags[name]
            text = str(config.getini(name) if flag is None else flag)
            folder = config.rootpath if flag is None else config.invocation_params.dir
            return folder / text if text else None

        root = config.rootpath
        searched: tuple[Path, ...] = ()
        matrix = chosen("gpu_profile_matrix")
        if matrix is None:
            nearest = search_upward(
                config.invocation_params.dir, root, is_project=config.inipath is not None
            )
            matrix, searched = nearest.matrix, nearest.searched
            # Without an ini file pytest takes the working directory for rootdir.
            root = nearest.base if root.is_relative_to(nearest.base) else root
        results = chosen("gpu_profile_dir") or root / RESULTS_NAME
        lock = chosen("gpu_profile_lock") or matrix.parent / LOCK_NAME
        given = tuple(
            (name, flag)
            for name in ("matrix", "lock")
            if (flag := flags[f"gpu_profile_{name}"]) is not None
        )
        return cls(matrix, lock, results, root, given, searched)

    def cases(self, preset: PresetChoice | None = None) -> tuple[Case, ...]:
        """Return the matrix's cases, under a preset in place of the matrix's own.

        Raises MatrixError, which holds every mistake, or HarnessError, which lists where a matrix
        was searched.
        """
        if self.searched:
            *others, last = map(str, self.searched)
            where = f"{', '.join(others)} and {last}" if others else last
            raise HarnessError(
                f"no matrix: there is no profiles/matrix.yaml in {where}. Write one there, go to "
                "the project that has one, or name the file with --gpu-profile-matrix (--matrix of "
                "the command gpu-profile)"
            )
        return load_matrix(self.matrix, search_path=self.module_path, preset=preset)

    @property
    def pytest_flags(self) -> str:
        """The flags with which another pytest command reads the same matrix and lockfile."""
        return "".join(f" --gpu-profile-{name} {shlex.quote(path)}" for name, path in self.given)

    @property
    def verb_flags(self) -> str:
        """The same for the command `gpu-profile`."""
        return "".join(f" --{name} {shlex.quote(path)}" for name, path in self.given)

    @property
    def module_path(self) -> tuple[str, ...]:
        """Folders of the workloads' modules, beyond `sys.path`.

        These are rootdir, the matrix's folder, and the folder that holds this one: the project's
        own, where the matrix is in a project below rootdir.
        """
        folder = self.matrix.parent.absolute()
        above = (folder.parent,) if folder.name == "profiles" else ()
        return tuple(dict.fromkeys(map(str, (*self.python_path, self.root, *above, folder))))

    @property
    def surroundings(self) -> Surroundings:
        """The folders and module path of probes.

        Read it after the collection: pytest extends `sys.path` while it collects.
        """
        sys_path = dict.fromkeys([*sys.path, *self.module_path])
        return Surroundings(self.results, Path.cwd(), tuple(sys_path))
