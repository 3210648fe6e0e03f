"""Searches the matrix upward, as `harness.load_profile` searches the lockfile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

MATRIX_NAME = "profiles/matrix.yaml"
_LOCK_NAME = "profiles/gpu-profile.lock"


class Nearest(NamedTuple):
    """The nearest matrix, or the place where it would be."""

    matrix: Path
    base: Path
    """The folder that holds `profiles`."""
    searched: tuple[Path, ...]
    """The folders in which there is no matrix; empty where one was found."""


def search_upward(start: Path, root: Path, *, is_project: bool) -> Nearest:
    """Return the nearest matrix in `start` or above it.

    Where `start` is not inside of `root`, the search begins at `root`. It ends at `root` if
    `is_project`, at the top of a git repository, and where another file system begins: what is
    beyond belongs to another project. Without a matrix the nearest lockfile says where it would be:
    verbs that read the lockfile alone need no matrix.
    """
    first = start if start.is_relative_to(root) else root
    searched = tuple(_folders(first, root, is_project=is_project))
    for name in (MATRIX_NAME, _LOCK_NAME):
        for folder in searched:
            if _is_trusted(folder / name, first):
                return Nearest(
                    folder / MATRIX_NAME, folder, () if name == MATRIX_NAME else searched
                )
    return Nearest(root / MATRIX_NAME, root, searched)


def _folders(first: Path, root: Path, *, is_project: bool) -> list[Path]:
    found = []
    device = first.stat().st_dev
    for folder in (first, *first.parents):
        if folder.stat().st_dev != device:
            break
        found.append(folder)
        if (is_project and folder == root) or (folder / ".git").exists():
            break
    return found


def _is_trusted(path: Path, first: Path) -> bool:
    """Return whether something is there, and not put above this project by another user.

    A matrix names code that runs. Above `/tmp/mine` anybody may write one.
    """
    try:
        # What is there and no file is told when it is read.
        return path.stat().st_uid in (os.geteuid(), 0, first.stat().st_uid)
    except OSError:
        return False
