"""Reads a file that may come from a stranger: a regular file, up to a size, and nothing else.

A pipe, a device or a folder in its place is refused at once: reading one may never end.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class UnreadableFileError(Exception):
    """The file cannot be read; the text is the reason, such as `not a regular file`."""


class FolderError(UnreadableFileError):
    """A folder stands in the place of the file."""


def read_bounded(path: Path, max_bytes: int) -> bytes | None:
    """Return the content of a regular file; None where there is no such file.

    Raises UnreadableFileError where the file is of another kind, is larger than `max_bytes`, or
    cannot be read.
    """
    try:
        # Before it is opened: to open a device may already do something.
        _refuse_other_kinds(path.stat())
        with open(path, "rb", opener=_open) as file:
            _refuse_other_kinds(os.fstat(file.fileno()))
            # Not by its size alone: a file may grow, and those of /proc have none.
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableFileError(f"cannot be read: {reason}") from error
    if len(data) > max_bytes:
        size = f"{max_bytes // 2**20} MiB" if max_bytes >= 2**20 else f"{max_bytes // 2**10} KiB"
        raise UnreadableFileError(f"larger than {size}")
    return data


def _refuse_other_kinds(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FolderError("a folder")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFileError("not a regular file")


def _open(path: str, flags: int) -> int:
    # A pipe, put there meanwhile, would otherwise wait for a writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
