"""Tells the lines of the user's code from those of the libraries that run it."""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What runs a training. A model's own package counts as the user's: its lines say most.
_RUNNING = (
    "torch",
    "functorch",
    "triton",
    "lightning",
    "lightning_utilities",
    "lightning_fabric",
    "pytorch_lightning",
    "torchmetrics",
    "accelerate",
    "harness",
)
_SITE_PACKAGES = f"{os.sep}site-packages{os.sep}"
# Where Inductor puts the code that it generates, unless TORCHINDUCTOR_CACHE_DIR says otherwise.
_GENERATED = f"{os.sep}torchinductor_"
_CHECKPOINT = os.path.join("torch", "utils", "checkpoint.py")


class UserCode:
    """Finds the innermost line of the user's code in a stack; `work.py:33`."""

    def __init__(self) -> None:
        packages = (getattr(sys.modules.get(name), "__path__", ()) for name in _RUNNING)
        inductor = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
        self._running = tuple(
            os.path.join(path, "")
            for path in (*(one for found in packages for one in found), *filter(None, [inductor]))
        )
        self._library = os.path.join(sysconfig.get_path("stdlib"), "")
        roots = {os.path.join(os.path.abspath(root), "") for root in [*sys.path, os.getcwd()]}
        self._roots = sorted(roots, key=len, reverse=True)
        self._shown: dict[str, str | None] = {}

    def line(self, frames: Iterable[Mapping[str, Any]]) -> str:
        """Return the innermost line of the user's in a recorded stack; an empty text if none is.

        frames: with `filename` and `line`, the innermost first.
        """
        for frame in frames:
            shown = self._file(frame["filename"])
            if shown is not None:
                return f"{shown}:{frame['line']}"
        return ""

    def current_line(self) -> str:
        """Return the innermost line of the user's that runs in this thread."""
        frame = sys._getframe(1)  # noqa: SLF001 - `inspect.currentframe` is the same, and slower
        while frame is not None:
            shown = self._file(frame.f_code.co_filename)
            if shown is not None:
                return f"{shown}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment] # None ends the loop
        return ""

    def _file(self, path: str) -> str | None:
        """Return how a file of the user's is shown; None for a file of others."""
        if path not in self._shown:
            self._shown[path] = self._name(path)
        return self._shown[path]

    def _name(self, path: str) -> str | None:
        if path.startswith("<") or _GENERATED in path or path.startswith(self._running):
            return None
        if path.startswith(self._library) and _SITE_PACKAGES not in path:
            return None
        for root in self._roots:
            if path.startswith(root):
                return path[len(root) :]
        return path


def recomputes(frames: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether activation checkpointing computes something again in this stack."""
    return any(frame["filename"].endswith(_CHECKPOINT) for frame in frames)
