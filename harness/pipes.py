"""Cuts what comes out of a pipe into lines, and holds pipes beside code that is not ours.

Both ends of a zygote's pipes use it. Names of the standard library are bound here once, because the
user's code in the same process may replace them.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl
from json import JSONEncoder
from os import dup, fstat, write
from typing import Any

CLOSED = "the workload has closed descriptors that it had not opened (os.closerange or the like)"
"""The reason why a process of the workload can no longer be heard."""

# Code that closes "all" descriptors begins at 3 and ends, as a rule, at 256 or 1024.
_FIRST_KEPT = 4000
_ROOM = 40

_encode = JSONEncoder().encode


class ClosedPipeError(OSError):
    """A pipe is no longer the one that was kept."""


class KeptPipe:
    """The writing end of a pipe, or of another stream, that the user's code should not meet.

    It is written to only while it is what it was at first: a descriptor that was closed may since
    be a file of the user's.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._identity = _identity(number)

    def is_at(self, number: int) -> bool:
        """Return whether a descriptor is one of the pipe."""
        with suppress(OSError):
            return _identity(number) == self._identity
        return False

    def write(self, data: bytes) -> None:
        """Write everything. Raises ClosedPipeError when the user's code has closed it."""
        if not self.is_at(self.number):
            raise ClosedPipeError(CLOSED)
        view = memoryview(data)
        while view:
            view = view[write(self.number, view) :]

    def send(self, message: Any) -> None:
        """Write a line of JSON."""
        self.write(_encode(message).encode() + b"\n")


class LineBuffer:
    """Collects chunks of bytes and returns their lines, in time that is linear in the bytes.

    A line that is too long is cut: its beginning is returned, and the rest is dropped.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add a chunk, and return the lines that it completes."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._add(part)
            lines.append(b"".join(self._parts))
            self._parts, self._length = [], 0
        self._add(rest)
        return lines

    def _add(self, part: bytes) -> None:
        kept = part[: self._longest - self._length]
        if kept:
            self._parts.append(kept)
            self._length += len(kept)


def keep(number: int) -> int:
    """Return a duplicate of a descriptor, with a number that is out of the way."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = _FIRST_KEPT if soft == resource.RLIM_INFINITY else min(_FIRST_KEPT, soft - _ROOM)
    with suppress(OSError):
        return fcntl(number, F_DUPFD_CLOEXEC, max(3, first))
    return dup(number)


def _identity(number: int) -> tuple[int, int]:
    found = fstat(number)
    return found.st_dev, found.st_ino
