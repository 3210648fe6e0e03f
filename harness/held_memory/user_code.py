"""Finds the innermost line of a stack that is neither torch's nor of what runs the training.

A network of a library counts as the user's code: its own line says most about its memory.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from harness.held_memory.source_files import (
    HARNESS,
    LOOPS,
    STANDARD,
    TORCH,
    TRAINER,
    package_of,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Where Inductor puts the code that it generates, unless TORCHINDUCTOR_CACHE_DIR says otherwise.
_GENERATED = f"{os.sep}torchinductor_"
_CHECKPOINT = f"{os.sep}torch{os.sep}utils{os.sep}checkpoint.py"


class UserCode:
    """Finds lines of the user's code, `work.py:33`; keeps what it knows of each file."""

    def __init__(self) -> None:
        self._generated = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or _GENERATED
        self._shown: dict[str, str | None] = {}

    def line(self, frames: Iterable[Mapping[str, Any]]) -> str:
        """Return the innermost line of the user's in a recorded stack; an empty text if none is.

        frames: with `filename` and `line`, the innermost first.
        """
        for frame in frames:
            file = self._file(frame["filename"])
            if file is not None:
                return f"{file}:{frame['line']}"
        return ""

    def current_line(self) -> str:
        """Return the innermost line of the user's that runs in this thread."""
        frame: Any = sys._getframe(1)  # noqa: SLF001 - the documented way to the running frame
        while frame is not None:
            file = self._file(frame.f_code.co_filename)
            if file is not None:
                return f"{file}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def _file(self, path: str) -> str | None:
        """Return how a file of the user's is shown; None for a file of others."""
        if path not in self._shown:
            self._shown[path] = None if self._is_foreign(path) else shown(path)
        return self._shown[path]

    def _is_foreign(self, path: str) -> bool:
        package = package_of(path)
        return (
            path.startswith(("<", HARNESS))
            or self._generated in path
            or package in (*TORCH, *LOOPS)
            or TRAINER in path
            or (package is None and path.startswith(STANDARD))
        )


def recomputes(frames: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether activation checkpointing computes something again in this stack."""
    return any(frame["filename"].endswith(_CHECKPOINT) for frame in frames)
