"""Holds what all tasks of a run share; it travels to the nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.probes.open_cases import Surroundings


@dataclass(frozen=True, slots=True)
class Job:
    """The run, as nodes need to know it. Paths of the project are relative to its root."""

    run: str
    """The id of the run."""
    root: Path
    """The project's root here, of which each node has a copy."""
    results: Path
    """The folder of results here, which paths in an answer begin with."""
    working_directory: str
    sys_path: tuple[str, ...]
    memory_wait: float
    """Seconds to wait for GPU memory that other processes of a node hold."""
    lock_wait: float
    """Seconds to wait for a GPU on which another run measures."""
    until: float | None = None
    """When probes stop to begin, in seconds since 1970; None: never."""

    @classmethod
    def of(
        cls,
        around: Surroundings,
        root: Path,
        waits: tuple[float, float],
        until: float | None = None,
    ) -> Job:
        """Return the job of a run in these surroundings.

        Folders of the module path outside the project stay behind: a node has its own.
        """
        base = root.absolute()
        here = _inside(around.working_directory, base)
        return cls(
            run=around.run,
            root=base,
            results=around.directory.absolute(),
            working_directory="." if here is None else here,
            sys_path=tuple(_relative(around.sys_path, base)),
            memory_wait=waits[0],
            lock_wait=waits[1],
            until=until,
        )

    def surroundings(self, around: Surroundings, copy: Path) -> Surroundings:
        """Return a node's surroundings, with the project's folders in its copy there."""
        own = dict.fromkeys(
            [*(str(copy / name) for name in self.sys_path), *around.sys_path],
        )
        return replace(
            around,
            working_directory=copy / self.working_directory,
            sys_path=tuple(own),
            run=self.run,
        )


def _relative(folders: Iterable[str], base: Path) -> Iterable[str]:
    for folder in folders:
        # An empty entry is the working directory.
        found = _inside(Path(folder).absolute(), base)
        if found is not None:
            yield found


def _inside(folder: Path, base: Path) -> str | None:
    return str(folder.relative_to(base)) if folder.is_relative_to(base) else None
