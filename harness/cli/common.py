"""Helps several verbs: finds cases of the matrix, prints lines."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.lockfile.profiles import read_lock
from harness.run.terminal_progress import TerminalProgress
from harness.visible import visible
from harness.wording import nearest, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.matrix.case import Case
    from harness.run.paths import Paths


_in_words = ContextVar("in_words", default=True)


def find_case(name: str, paths: Paths) -> Case:
    """Return the case with this id.

    Raises HarnessError when there is none, and names the nearest one. Raises LockError when the
    lockfile is damaged, because the case's values could not be locked.
    """
    read_lock(paths.lock)
    cases = {case.id: case for case in paths.cases()}
    if name not in cases:
        known = nearest(name, cases, "cases")
        raise HarnessError(f"{shown_path(paths.matrix)} has no case {name}; {known}")
    return cases[name]


def say(text: str) -> None:
    """Print a line at once: some verbs build workloads for seconds between two lines.

    Under `--json` nothing is printed: the verb's document says the same.
    """
    if _in_words.get():
        print(visible(text), flush=True)  # noqa: T201 - what the command is for


@contextmanager
def without_words() -> Iterator[None]:
    """Let `say` say nothing inside."""
    token = _in_words.set(False)
    try:
        yield
    finally:
        _in_words.reset(token)


def say_aside(text: str) -> None:
    """Print to standard error: what is no part of the answer."""
    print(visible(text), file=sys.stderr, flush=True)  # noqa: T201 - what the command is for


@contextmanager
def progress_aside() -> Iterator[None]:
    """Show on the terminal which probe is running; standard output keeps the answer alone."""

    def write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    with TerminalProgress(
        write=write,
        write_line=lambda text: write(f"{text}\n"),
        room=lambda: os.get_terminal_size(sys.stderr.fileno()).columns,
        suspend_capture=nullcontext,
        verbose=False,
        tty=sys.stderr.isatty(),
    ):
        yield
