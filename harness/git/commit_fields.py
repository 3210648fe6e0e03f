"""Asks git for what people know a commit by, cut to a length, and reads it."""

from __future__ import annotations

from datetime import UTC, datetime

# Of a subject and of a name. Git itself cuts them by their width, so that one commit cannot fill
# the memory; characters without a width are cut here.
_MAX_TEXT = 200
# The last second that `datetime` knows, of the year 9999.
_LAST_SECOND = 253_402_300_799
FORMAT = f"%ct%x00%<({_MAX_TEXT},trunc)%an%x00%<({_MAX_TEXT},trunc)%s"
"""Three fields, for `read_fields`."""
OPTIONS = ("--no-show-signature", "--no-color", "--no-mailmap", "--encoding=UTF-8")
"""What `git log` needs beside it."""


def read_fields(seconds: str, author: str, subject: str) -> tuple[datetime, str, str]:
    """Return when a commit was made, in UTC, its author and its subject.

    Raises ValueError for what is no date.
    """
    date = datetime.fromtimestamp(min(int(seconds), _LAST_SECOND), UTC)
    return date, author[:_MAX_TEXT].strip(), subject[:_MAX_TEXT].strip()
