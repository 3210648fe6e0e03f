"""The two kinds of trouble that a user is told about, as opposed to bugs of the harness."""

from __future__ import annotations


class HarnessError(Exception):
    """Something the user can put right; the message says what, where, what is allowed and what to do."""


class MachineError(HarnessError):
    """The machine is in the way (a busy or lost GPU, a killed probe): a test *error*, never a regression."""
