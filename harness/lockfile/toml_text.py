"""Reads a lockfile's text, parses it as TOML, and finds the lines that errors name."""

from __future__ import annotations

import hashlib
import re
import tomllib
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from harness.bounded_file import FolderError, UnreadableFileError, read_bounded
from harness.errors import HarnessError
from harness.lockfile.toml_limits import (
    MAX_BYTES,
    TOO_DEEP,
    TOO_MANY_DIGITS,
    deepest_line,
    excess,
    excess_of,
    lines,
    longest_number_line,
)
from harness.visible import one_line
from harness.wording import RELOCK, shown_path

if TYPE_CHECKING:
    from pathlib import Path

# Git's markers begin a line, and their seven characters stand alone or before a blank.
_CONFLICT = re.compile(r"^(?:<{7}|\|{7}|={7}|>{7})(?![^ \t\r\n])", re.MULTILINE)
_HEADER = re.compile(r"""\s*+\[\[\s*+["']?profile["']?\s*+\]\]""")
_TABLE = re.compile(r"""\s*+\[\s*+["']?profile["']?\s*+\.\s*+["']?([\w-]++)["']?\s*+\]""")
_BARE = re.compile(r"[^ \t=.\]]*+")
_POSITION = re.compile(r"\(at line (\d+), column \d+\)|\(at end of document\)")


class LockError(HarnessError):
    """The lockfile cannot be used; the message begins with FILE:LINE."""


class LockText:
    """The text of one lockfile."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text

    @cached_property
    def digest(self) -> bytes:
        """A digest of the text alone."""
        return hashlib.sha256(self._text.encode("utf-8", "surrogatepass")).digest()

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise LockError at a line, or at the first one if none is known."""
        raise LockError(f"{shown_path(self.path)}:{line or 1}: {one_line(message)}")

    def parse(self) -> dict[str, Any]:
        """Return the file's tables.

        Raises LockError for a merge conflict and for text that is not TOML.
        """
        self._refuse_conflicts()
        if found := excess(self._text):
            self.fail(*found)
        try:
            tables = tomllib.loads(self._text)
        except RecursionError:
            self.fail(TOO_DEEP, deepest_line(self._text))
        except ValueError as error:
            # A TOMLDecodeError, or an integer with more digits than int() converts.
            place = _POSITION.search(str(error))
            if place is None:
                self.fail(TOO_MANY_DIGITS, longest_number_line(self._text))
            line = int(place[1]) if place[1] else self._num_lines
            reason = _POSITION.sub("", str(error)).strip()
            self.fail(
                f"not TOML: {reason[:200]}; correct the line, or restore the file from git", line
            )
        if not self._text.endswith("\n") and self._text.rpartition("\n")[2].strip():
            # A number that was cut short is still valid TOML.
            self.fail(
                "the last line has no line break, so the file may have been cut off: restore it "
                "from git, or add the line break",
                self._num_lines,
            )
        if problem := excess_of(tables):
            places = {TOO_DEEP: deepest_line, TOO_MANY_DIGITS: longest_number_line}
            self.fail(problem, places[problem](self._text))
        return tables

    def line(self, profile: int, key: str | None = None, table: str | None = None) -> int | None:
        """Return the line of a key in the n-th `[[profile]]`, else that of its header, else None.

        `table` is the sub-table that holds the key. Profiles that are written inline, without
        headers, all have the line on which their list begins.
        """
        current = found = None
        seen = -1
        for number, line in enumerate(lines(self._text), 1):
            if _HEADER.match(line):
                seen += 1
                if seen > profile:
                    break
                if seen == profile:
                    found = number
            elif seen == profile:
                if header := _TABLE.match(line):
                    current = header[1]
                    if current == table:
                        found = number
                elif current == table and key is not None and _assigned(line) == key:
                    return number
        return found or self.line_of("profile")

    def line_of(self, key: str) -> int | None:
        """Return the line of a key at the top of the file, or None."""
        return next(
            (number for number, line in enumerate(lines(self._text), 1) if _assigned(line) == key),
            None,
        )

    @property
    def _num_lines(self) -> int:
        return self._text.count("\n") + 1

    def _refuse_conflicts(self) -> None:
        found = _CONFLICT.search(self._text)
        if found is None:
            return
        conflicts = sum(line.startswith("<<<<<<<") for line in lines(self._text))
        several = f", the first of {conflicts}," if conflicts > 1 else ""
        marker = next(lines(self._text, found.start()))[:40].rstrip()
        self.fail(
            f"a merge conflict{several} is not resolved ({marker}): edit the file, or take one "
            f"side with `git checkout --theirs {shown_path(self.path)}` and lock what is missing "
            f"with `{RELOCK}`",
            self._text.count("\n", 0, found.start()) + 1,
        )


def read_text(path: Path) -> LockText | None:
    """Read a lockfile; return None when it does not exist.

    Raises LockError when the file cannot be read as text.
    """
    try:
        data = read_bounded(path, MAX_BYTES)
    except FolderError as error:
        raise LockError(f"{shown_path(path)}: {error}; name the file in it") from error
    except UnreadableFileError as error:
        raise LockError(f"{shown_path(path)}: {error}; name a lockfile") from error
    if data is None:
        return None
    try:
        # Some editors put a byte order mark first.
        return LockText(path, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LockError(
            f"{shown_path(path)}:{line}: not UTF-8: restore the file from git"
        ) from error


def _assigned(line: str) -> str | None:
    """Return the key that a line begins with, or the name of the table that it opens, or None."""
    text = line.strip().lstrip("[").lstrip()
    quote = text[:1]
    if quote in ("'", '"'):
        key, _, rest = text[1:].partition(quote)
    else:
        bare = _BARE.match(text)
        assert bare is not None, "it matches an empty text as well"
        key, rest = bare[0], text[bare.end() :]
    return key if rest.lstrip()[:1] in ("=", ".", "]") else None
