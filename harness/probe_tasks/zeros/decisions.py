"""Keeps the lines of a training where values of tensors decide, while the GPU is simulated.

Such a GPU computes nothing, so a value that decides is a zero, or what follows from zeros.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.held_memory.source_files import HARNESS, STANDARD, TORCH, TRAINER, package_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_ZEROS = "zeros for what the GPU would compute"
# Notes beyond this many are counted, because people read them.
_MOST_NOTES = 8
_OWN = str(Path(__file__).parent) + os.sep
# Libraries that run a user's training. What they decide for themselves is not the user's affair,
# such as whether a loader has a length.
_LOOPS = ("lightning", "pytorch_lightning", "lightning_fabric", "accelerate")


class Decisions:
    """The lines where values decide, each once, and the line that read a value last."""

    def __init__(self) -> None:
        self.last_read: str | None = None
        """`work.py:141`; None where no value was read."""
        self._notes: dict[str, str] = {}
        self._quiet = threading.local()

    def decides(self, value: object) -> None:
        """Note that a value decides at the line that is running; `value` is what it read."""
        self._note(
            f"a value of a tensor decides here, and the prediction takes {_ZEROS} (read {value})"
        )

    def sizes(self, count: int | None) -> None:
        """Note that values decide how many elements a tensor has.

        count: what they gave; None where it is not known.
        """
        gave = "" if count is None else f" ({count} elements)"
        low = "; training may take more memory" if count == 0 else ""
        self._note(
            "values of a tensor decide the size of another one here, and the prediction takes "
            f"{_ZEROS}{gave}{low}"
        )

    def reads(self) -> None:
        """Remember that a value was read at the line that is running, as for a log."""
        place = None if self._is_quiet() else _place(any_line=False)
        if place is not None:
            self.last_read = place

    def notes(self) -> list[str]:
        """Return a line for each place where values decide, the first places first."""
        told = [f"{place}: {note}" for place, note in self._notes.items()]
        more = len(told) - _MOST_NOTES
        if more <= 0:
            return told
        return [*told[:_MOST_NOTES], f"values of tensors decide at {more} further lines"]

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Note and remember nothing in this thread: what is printed decides nothing."""
        before, self._quiet.on = self._is_quiet(), True
        try:
            yield
        finally:
            self._quiet.on = before

    def _note(self, note: str) -> None:
        place = None if self._is_quiet() else _place(any_line=True)
        if place is not None:
            self.last_read = place
            self._notes.setdefault(place, note)

    def _is_quiet(self) -> bool:
        return bool(getattr(self._quiet, "on", False))


def is_users(path: str | None) -> bool:
    """Return whether a module's file is the user's: of no installed package, Python or harness."""
    return (
        path is not None
        and package_of(path) is None
        and not path.startswith((HARNESS, "<", *STANDARD))
    )


def _place(*, any_line: bool) -> str | None:
    """Return the innermost line of the user's code; None where the user's code does not ask.

    Where what runs the training has called no code of the user's, it is the innermost line of
    another library, such as that of a network, or with `any_line` a line of torch's, such as that
    of an optimizer.
    """
    library: str | None = None
    torch_line: str | None = None
    for frame in _frames():
        path = frame.f_code.co_filename
        package = package_of(path)
        if path.startswith(("<", _OWN)):
            continue
        if path.startswith(HARNESS) or package in _LOOPS or TRAINER in path:
            break
        here = f"{shown(path)}:{frame.f_lineno}"
        if is_users(path):
            return here
        if package in TORCH:
            torch_line = torch_line or here
        elif package is not None:
            library = library or here
    return library or (torch_line if any_line else None)


def _frames() -> Iterator[FrameType]:
    frame: Any = sys._getframe(2)  # noqa: SLF001 - the documented way to the running frame
    while frame is not None:
        yield frame
        frame = frame.f_back
