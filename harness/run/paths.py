"""Resolves the paths that a run reads and writes."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.probes.open_cases import Surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

LOCK_NAME = "gpu-profile.lock"


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

    @classmethod
    def resolve(cls, config: pytest.Config, flags: Mapping[str, str | None]) -> Paths:
        """Return the paths of pytest's configuration.

        A flag's path is relative to the folder in which pytest was started. The path of an ini key
        or of a default is relative to rootdir. The lockfile is beside the matrix by default.

        flags: the values of the command line, None where a flag is not given.
        """

        def chosen(name: str) -> Path | None:
            flag = flags[name]
            text = str(config.getini(name) if flag is None else flag)
            folder = config.rootpath if flag is None else config.invocation_params.dir
            return folder / text if text else None

        matrix, results = chosen("gpu_profile_matrix"), chosen("gpu_profile_dir")
        root = config.rootpath
        matrix, results = matrix or root, results or root
        lock = chosen("gpu_profile_lock") or matrix.parent / LOCK_NAME
        given = tuple(
            (name, flag)
            for name in ("matrix", "lock")
            if (flag := flags[f"gpu_profile_{name}"]) is not None
        )
        return cls(matrix, lock, results, root, given)

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
        """Folders of the workloads' modules, beyond `sys.path`: rootdir and that of the matrix."""
        return (str(self.root), str(self.matrix.parent.absolute()))

    @property
    def surroundings(self) -> Surroundings:
        """The folders and module path of probes.

        Read it after the collection: pytest extends `sys.path` while it collects.
        """
        sys_path = dict.fromkeys([*sys.path, *self.module_path])
        return Surroundings(self.results, Path.cwd(), tuple(sys_path))
