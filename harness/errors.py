"""The two kinds of trouble that a user is told about, as opposed to bugs of the harness."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Escape what would break a message into lines or steer the terminal: files are quoted in it as they are."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class HarnessError(Exception):
    """Something the user can put right; the message says what, where, what is allowed and what to do."""


class MachineError(HarnessError):
    """The machine is in the way (a busy or lost GPU, a killed probe): a test *error*, never a regression."""
