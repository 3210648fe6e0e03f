"""Shows the progress of a run: puts log records on the terminal while tests run.

All progress goes through the logger `harness`, so log files, levels and pytest's log options apply
to it.
"""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self

from harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    import pytest

logger = logging.getLogger("harness")


def _make_visible(record: logging.LogRecord) -> bool:
    """Make the words of a workload harmless, for every handler: pytest shows the log as well."""
    record.msg, record.args = visible(record.getMessage()), None
    return True


logger.addFilter(_make_visible)

# With fewer columns a status would be too short to read.
_MIN_STATUS_WIDTH = 20


class TerminalProgress(logging.Handler):
    """A context manager that shows the records of the logger `harness` on the terminal.

    If `verbose`, each record is a line. Otherwise, on a terminal, the last record is a status
    behind the cursor. It is cut to the room on the line, followed by backspaces, and erased at the
    end; a carriage return would wipe out the results that pytest has on that line. If the output is
    no terminal and `verbose` is false, only warnings are shown, each as a line: a CI log says for
    what a run waits.

    Args:
        write: writes text as it is and flushes; must not count columns for `room`, as backspaces
            would be miscounted.
        write_line: writes a line of its own, and flushes.
        room: returns the number of columns that are left on the current line.
        suspend_capture: makes a context in which output reaches the terminal.
        verbose: whether each record is a line.
        tty: whether the output is a terminal that obeys backspaces.

    """

    def __init__(
        self,
        *,
        write: Callable[[str], object],
        write_line: Callable[[str], object],
        room: Callable[[], int],
        suspend_capture: Callable[[], AbstractContextManager[object]],
        verbose: bool,
        tty: bool,
    ) -> None:
        super().__init__(logging.INFO if verbose or tty else logging.WARNING)
        self._write = write
        self._write_line = write_line
        self._room = room
        self._suspend_capture = suspend_capture
        self._verbose = verbose
        self._tty = tty
        self._shown = 0
        self._lowered = False

    def __enter__(self) -> Self:
        """Listen to the logger; its level becomes INFO unless someone has set one."""
        if self._verbose or self._tty:
            self._lowered = logger.level == logging.NOTSET
            if self._lowered:
                logger.setLevel(logging.INFO)
        logger.addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening, restore the level and erase the status."""
        logger.removeHandler(self)
        if self._lowered:
            logger.setLevel(logging.NOTSET)
            self._lowered = False
        self.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        try:
            with self._suspend_capture():
                if self._verbose or not self._tty:
                    self._write_line(self.format(record))
                else:
                    self._show(self.format(record))
        except Exception:  # noqa: BLE001 - logging's contract: a handler never raises
            self.handleError(record)

    def clear(self) -> None:
        """Erase the status; the cursor stays where it was."""
        if self._shown:
            with self._suspend_capture():
                self._write(" " * self._shown + "\b" * self._shown)
            self._shown = 0

    def _show(self, message: str) -> None:
        room = self._room() - 1
        if room < _MIN_STATUS_WIDTH:
            self.clear()
            return
        first_line = message.splitlines()[0] if message else ""
        status = " " + first_line if len(first_line) < room else f" {first_line[: room - 4]}..."
        padding = max(self._shown - len(status), 0)
        self._write(status + " " * padding + "\b" * (len(status) + padding))
        self._shown = len(status)


def show_progress(config: pytest.Config, terminal: Any) -> TerminalProgress:
    """Return a handler that shows records on the terminal although pytest captures output.

    Workers, and runs without a terminal's reporter, write warnings to standard error: nobody else
    would say what they wait for.
    """
    capture = config.pluginmanager.get_plugin("capturemanager")
    suspend = capture.global_and_fixture_disabled if capture else nullcontext

    def write(text: str) -> None:
        # Not through pytest's writer: it counts columns, and would count backspaces as columns.
        sys.stdout.write(text)
        sys.stdout.flush()

    if terminal is None:
        return TerminalProgress(
            write=write,
            write_line=lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201 - as said
            room=lambda: 0,
            suspend_capture=suspend,
            verbose=False,
            tty=False,
        )
    writer = config.get_terminal_writer()

    def write_line(text: str) -> None:
        # A pipe's buffer would keep the line until the wait that it tells of is over.
        terminal.write_line(text)
        terminal.flush()

    return TerminalProgress(
        write=write,
        write_line=write_line,
        room=lambda: writer.fullwidth - writer.width_of_current_line,
        suspend_capture=suspend,
        verbose=config.get_verbosity() > 0,
        tty=terminal.isatty,
    )
