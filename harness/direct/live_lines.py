"""Shows a line for each try, as it ends: the log of a run, on a terminal or in a notebook."""

from __future__ import annotations

import builtins
import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.progress.display import LogLines, logger

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def live_lines(prefix: str, *, shown: bool = True) -> Iterator[None]:
    """Show what the logger `harness` says within the block, a line for each record.

    The lines go to standard error, and in IPython, where that looks like a failure, to standard
    output. Where the caller's own logging shows them already, nothing is added.

    prefix: what each line begins with and need not: there is one case alone.
    """
    if not shown or (logger.isEnabledFor(logging.INFO) and logger.hasHandlers()):
        yield
        return

    def write(text: str) -> None:
        stream = sys.stdout if hasattr(builtins, "get_ipython") else sys.stderr
        if stream is not None:  # a program without a terminal
            stream.write(text)
            stream.flush()

    with LogLines(lambda text: write(f"{text.removeprefix(prefix)}\n"), verbose=True):
        yield
