"""Helps several verbs: finds cases of the matrix, prints lines."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.lockfile.profiles import read_lock
from harness.progress.block import Block, can_draw
from harness.progress.display import Progress
from harness.visible import visible
from harness.wording import nearest, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.matrix.case import Case
    from harness.progress.display import Style
    from harness.run.paths import Paths


_in_words = ContextVar("in_words", default=True)


def find_case(name: str, paths: Paths) -> Case:
    """Return the case with this id.

    Raises HarnessError when there is none, and names the nearest one. Raises LockError when the
    lockfile is damaged, because the case's values could not be locked.
    """
    read_lock(paths.lock)
    return case_named(name, paths)


def case_named(name: str, paths: Paths) -> Case:
    """Return the case with this id; raises HarnessError as `find_case` does."""
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


class _StandardError:
    """Standard error of a command: nobody else begins a line there."""

    def settle(self) -> None:
        """Write what is in the buffers: both streams may lead to one terminal."""
        sys.stdout.flush()
        sys.stderr.flush()

    def line(self, text: str) -> None:
        say_aside(text)

    line_from_elsewhere = line


@contextmanager
def progress_aside(
    total: int | None = None, *, verbose: bool = False, prefix: str = ""
) -> Iterator[None]:
    """Show what goes on on standard error; standard output keeps the answer alone.

    total: how many cases the verb works on, one after the other; None if nobody knows.
    verbose: whether each record of the log is a line; `prefix`, with which it begins, is left out.
    """
    block = Block(sys.stderr, color=True, column=lambda: 0, prints=True)
    style: Style = "block" if can_draw(sys.stderr) else "lines"
    with Progress(
        _StandardError(), block, style=style, verbose=verbose, anybody=True, prefix=prefix
    ) as progress:
        progress.state.total = total
        yield
