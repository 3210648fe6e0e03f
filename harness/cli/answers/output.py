"""Keeps standard output for one JSON document, whatever else is printed meanwhile."""

from __future__ import annotations

import io
import os
import sys
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from harness.cli.answers.answer import document_text
from harness.cli.common import without_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def nothing_on_output() -> Iterator[None]:
    """Send what is printed inside to standard error, also by programs that are started there.

    The user's code, pytest's plugins and the program of `simulate` print what they like. The words
    of the verb itself are left out: the document says the same.
    """
    with ExitStack() as stack:
        stack.enter_context(without_words())
        number = _file_number(sys.stdout)
        if number is not None:
            sys.stdout.flush()
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            aside = _file_number(sys.stderr)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            os.dup2(nowhere if aside is None else aside, number)
        stack.enter_context(redirect_stdout(sys.stderr))
        yield


def write_document(verb: str | None, document: Mapping[str, object]) -> None:
    """Write a document to standard output."""
    write_utf8(document_text(verb, document))


def write_utf8(text: str) -> None:
    """Write JSON to standard output, in UTF-8 whatever the locale says."""
    if sys.stdout is None:  # `>&-`
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(text)
    sys.stdout.flush()


def _file_number(stream: object) -> int | None:
    """Return the descriptor of a stream; None of one that is closed, or no file."""
    try:
        return stream.fileno() if isinstance(stream, io.TextIOBase) else None
    except (OSError, ValueError):
        return None
