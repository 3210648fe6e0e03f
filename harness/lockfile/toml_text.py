"""Reads a lockfile's text, parses it as TOML, and finds the lines that errors name."""

from __future__ import annotations

import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import HarnessError
from harness.wording import RELOCK, one_line, shown_path

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MAX_BYTES = 64 * 1024**2
# gpu-profile writes three levels. Far deeper tables would exceed Python's recursion limit.
_MAX_DEPTH = 32
# Larger integers overflow in arithmetic with floats, and Python refuses to print the largest.
_MAX_BITS = 1023
_MARKERS = ("<<<<<<<", "|||||||", "=======", ">>>>>>>")
_HEADER = re.compile(r"""\s*\[\[\s*["']?profile["']?\s*\]\]""")
_TABLE = re.compile(r"""\s*\[\s*["']?profile["']?\s*\.\s*["']?([^"'\].]+?)["']?\s*\]""")
# tomllib's time for such a key grows with the square of its number of parts.
_DEEP_KEY = re.compile(
    rf"""(?<![\w"'-])(?:(?:[\w-]++|"[^"]*+"|'[^']*+')\s*+\.\s*+){{{_MAX_DEPTH}}}"""
)
_LONG_NUMBER = re.compile(r"[0-9a-fA-F_]{250}")
_POSITION = re.compile(r"\(at line (\d+), column \d+\)|\(at end of document\)")


class LockError(HarnessError):
    """The lockfile cannot be used; the message begins with FILE:LINE."""


class LockText:
    """The text of one lockfile."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines = text.split("\n")
        self._text = text
        self._headers = [
            number for number, line in enumerate(self._lines, 1) if _HEADER.match(line)
        ]

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise LockError at a line, or at the first one if none is known."""
        raise LockError(f"{shown_path(self.path)}:{line or 1}: {one_line(message)}")

    def parse(self) -> dict[str, Any]:
        """Return the file's tables.

        Raises LockError for a merge conflict and for text that is not TOML.
        """
        self._refuse_conflicts()
        if any(map(_DEEP_KEY.search, self._lines)):
            self._refuse_depth()
        try:
            tables = tomllib.loads(self._text)
        except RecursionError:
            self._refuse_depth()
        except ValueError as error:
            # A TOMLDecodeError, or an integer with more digits than int() converts.
            found = _POSITION.search(str(error))
            if found is None:
                self._refuse_number()
            line = int(found[1]) if found[1] else len(self._lines)
            reason = _POSITION.sub("", str(error)).strip()
            self.fail(
                f"not TOML: {reason[:200]}; correct the line, or restore the file from git", line
            )
        if self._lines[-1].strip():
            # A number that was cut short is still valid TOML.
            self.fail(
                "the last line has no line break, so the file may have been cut off: restore it "
                "from git, or add the line break",
                len(self._lines),
            )
        for depth, level in enumerate(_levels(tables), 1):
            if depth > _MAX_DEPTH:
                self._refuse_depth()
            if any(isinstance(value, int) and value.bit_length() > _MAX_BITS for value in level):
                self._refuse_number()
        return tables

    def line(self, profile: int, key: str | None = None, table: str | None = None) -> int | None:
        """Return the line of a key in the n-th `[[profile]]`, else that of its header, else None.

        `table` is the sub-table that holds the key. Profiles that are written inline, without
        headers, all have the line on which their list begins.
        """
        if profile >= len(self._headers):
            return self.line_of("profile")
        header = self._headers[profile]
        end = (
            self._headers[profile + 1] - 1 if profile + 1 < len(self._headers) else len(self._lines)
        )
        current = None
        table_line = None
        for number in range(header + 1, end + 1):
            line = self._lines[number - 1]
            if found := _TABLE.match(line):
                current = found[1]
                if current == table:
                    table_line = number
            elif current == table and key is not None and _assigns(key, line):
                return number
        return table_line or header

    def line_of(self, key: str) -> int | None:
        """Return the line of a key at the top of the file, or None."""
        return next(
            (number for number, line in enumerate(self._lines, 1) if _assigns(key, line)), None
        )

    def _first(self, found: Callable[[str], object]) -> int | None:
        return next((number for number, line in enumerate(self._lines, 1) if found(line)), None)

    def _refuse_depth(self) -> NoReturn:
        line = self._first(
            lambda line: line.count("[") + line.count("{") > _MAX_DEPTH or _DEEP_KEY.search(line)
        )
        self.fail("nests too deeply for a lockfile: restore it from git", line)

    def _refuse_number(self) -> NoReturn:
        self.fail(
            "a number with too many digits: restore the file from git",
            self._first(_LONG_NUMBER.search),
        )

    def _refuse_conflicts(self) -> None:
        for number, line in enumerate(self._lines, 1):
            if line.startswith(_MARKERS) and not line[7:8].strip():
                conflicts = sum(other.startswith("<<<<<<<") for other in self._lines)
                several = f", the first of {conflicts}," if conflicts > 1 else ""
                self.fail(
                    f"a merge conflict{several} is not resolved ({line[:40].rstrip()}): edit the "
                    f"file, or take one side with `git checkout --theirs {shown_path(self.path)}` "
                    f"and lock what is missing with `{RELOCK}`",
                    number,
                )


def read_text(path: Path) -> LockText | None:
    """Read a lockfile; return None when it does not exist.

    Raises LockError when the file cannot be read as text.
    """
    try:
        status = path.stat()
        _refuse_other_files(path, status)
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LockError(f"{shown_path(path)}: cannot be read: {reason}") from error
    try:
        # Some editors put a byte order mark first.
        return LockText(path, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LockError(
            f"{shown_path(path)}:{line}: not UTF-8: restore the file from git"
        ) from error


def _refuse_other_files(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise LockError(
            f"{shown_path(path)}: a folder; name the file in it, {path / 'gpu-profile.lock'}"
        )
    if not stat.S_ISREG(status.st_mode):
        raise LockError(f"{shown_path(path)}: not a regular file; name a lockfile")
    if status.st_size > _MAX_BYTES:
        raise LockError(
            f"{shown_path(path)}: larger than {_MAX_BYTES // 1024**2} MiB: this is no lockfile"
        )


def _assigns(key: str, line: str) -> bool:
    """Return whether a line begins with a key, or is the header of a table of that name."""
    return re.match(rf"""\s*(?:\[+\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""", line) is not None


def _levels(tables: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the values of each level of nesting, without recursion: the levels may be too many."""
    level: list[Any] = [tables]
    while level := [
        item
        for value in level
        if isinstance(value, (dict, list))
        for item in (value.values() if isinstance(value, dict) else value)
    ]:
        yield level
