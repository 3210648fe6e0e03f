"""Live progress of a run: one log record per probe, and a handler that shows the records while tests run.

Everything goes through the logger `harness`, so that log files, levels and pytest's log options apply.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from harness.measurement import Probe

logger = logging.getLogger("harness")

# Under this many columns a status would say nothing.
_MIN_STATUS_WIDTH = 20


def log_probe(case_id: str, probe: Probe, limit_bytes: int | None) -> None:
    """Log how one probe of a case ended, in one line at level INFO."""
    logger.info("%s: %s", case_id, describe_probe(probe, limit_bytes))


def describe_probe(probe: Probe, limit_bytes: int | None) -> str:
    """Say in one line which batch size was tried, what came of it, and how long it took."""
    peak = ""
    if probe.outcome == "fits" and probe.peak_memory_bytes is not None:
        peak = f", peak {format_bytes(probe.peak_memory_bytes)}"
        peak += "" if limit_bytes is None else f" of {format_bytes(limit_bytes)}"
    return f"{describe_ending(probe)}{peak}, {probe.seconds:.1f} s"


def describe_ending(probe: Probe) -> str:
    """Say which batch size was tried and how it ended: `batch 472 out of memory in backward`."""
    batch = f"{'validation batch' if probe.kind == 'validation' else 'batch'} {probe.batch_size}"
    where = f" in {probe.phase}" if probe.phase else ""
    if probe.outcome == "fits":
        return f"{batch} fits" + (
            f", thrashing ({probe.alloc_retries} retries)" if probe.alloc_retries else ""
        )
    if probe.outcome == "oom":
        return f"{batch} out of memory{where}"
    if probe.outcome == "dataset":
        return f"{batch} is more than the data holds"
    lines = (probe.detail or "").strip().splitlines()
    return f"{batch} failed{where}" + (f": {lines[0]}" if lines else "")


class TerminalProgress(logging.Handler):
    """Shows the records of the logger `harness` on the terminal while it is entered as a context manager.

    Verbose: each record is a line. Otherwise, on a terminal, the last record is a status behind the cursor:
    cut to the room on the line, followed by backspaces, and erased at the end. A carriage return would wipe
    out the results that pytest has on that line. Neither verbose nor a terminal: nothing is shown.

    Args:
        write: writes text as it is and flushes, past whatever counts columns for `room`: backspaces miscount.
        write_line: writes a line of its own.
        room: columns that are left on the current line.
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
        super().__init__(logging.INFO)
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
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, erase the status and restore the level."""
        logger.removeHandler(self)
        if self._lowered:
            logger.setLevel(logging.NOTSET)
            self._lowered = False
        self.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        try:
            with self._suspend_capture():
                if self._verbose:
                    self._write_line(self.format(record))
                else:
                    self._show(self.format(record))
        except Exception:  # noqa: BLE001 - a handler never breaks what it reports on (logging's own contract)
            self.handleError(record)

    def clear(self) -> None:
        """Erase the status, leaving the cursor where it was."""
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
