"""Writes the output of a process into a file of bounded size, and reads the end of such a file."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.units import format_bytes

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

# A log keeps this much of the beginning of an output, and as much of its end.
HEAD_BYTES = TAIL_BYTES = 1 << 20
# Enough for the last words of a process that died.
_LAST_WORDS_BYTES = 10_000


class BoundedLog:
    """A file with the beginning and the end of an output.

    The beginning is in the file at once. The end is written when the log is closed.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        """The first failure to write; later output is lost."""
        path.unlink(missing_ok=True)
        self._file: FileIO = path.open("xb", buffering=0)  # x: follows no link
        self._room = HEAD_BYTES
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._left_out = 0

    def write(self, chunk: bytes) -> None:
        """Add output; a disk that is full must not end the process that writes."""
        if self._room:
            head, chunk = chunk[: self._room], chunk[self._room :]
            self._room -= len(head)
            self._put(head)
        if not chunk:
            return
        self._tail.append(chunk)
        self._tail_bytes += len(chunk)
        while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            left_out = len(self._tail.popleft())
            self._tail_bytes -= left_out
            self._left_out += left_out

    def close(self) -> None:
        """Write the end of the output."""
        if self._left_out:
            size = format_bytes(self._left_out)
            self._put(f"\n[gpu-profile: {size} of output are left out here]\n".encode())
        self._put(b"".join(self._tail))
        self._tail.clear()
        self._file.close()

    def _put(self, data: bytes) -> None:
        if self.error is None and data:
            try:
                view = memoryview(data)
                while view:
                    view = view[self._file.write(view) :]
            except OSError as error:
                self.error = error


def last_words(path: Path) -> str:
    """Return the end of a process's output; empty when the log cannot be read."""
    with suppress(OSError), path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _LAST_WORDS_BYTES))
        return stream.read(_LAST_WORDS_BYTES).decode(errors="replace")
    return ""
