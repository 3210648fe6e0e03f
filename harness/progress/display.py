"""Shows the progress of a run: a block on a terminal, or now and then a line in a log.

What is logged by the logger `harness` is shown as well: warnings always, and the rest if verbose
or, as the last line of the block, on a terminal. Log files, levels and pytest's log options apply
to it as to any log.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Literal, Protocol, Self

from harness.progress.events import Event, listening
from harness.progress.state import RunState
from harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.progress.block import Block

logger = logging.getLogger("harness")
LINE_SECONDS = 60.0
"""A log gets a line so often, and none from a case that is shorter: CI logs are read by people."""
_TICK_SECONDS = 1.0

Style = Literal["block", "lines", "none"]


def _make_visible(record: logging.LogRecord) -> bool:
    """Make the words of a workload harmless, for every handler: pytest shows the log as well."""
    record.msg, record.args = visible(record.getMessage()), None
    return True


logger.addFilter(_make_visible)


class Output(Protocol):
    """Where lines go that are no block."""

    def settle(self) -> None:
        """Bring what others have written to the terminal; called in the main thread."""

    def line(self, text: str) -> None:
        """Write a line of its own at once; called in the main thread."""

    def line_from_elsewhere(self, text: str) -> None:
        """Write a line of its own at once; called in any thread, while a case is worked on."""


class LogLines(logging.Handler):
    """A context manager that writes each record of the logger `harness` as a line.

    If `verbose`, the logger's level is INFO within the block, unless someone has set one. Else
    warnings alone are lines.
    """

    def __init__(self, write_line: Callable[[str], object], *, verbose: bool) -> None:
        super().__init__(logging.INFO if verbose else logging.WARNING)
        self._write_line = write_line
        self._verbose = verbose
        self._lowered = False

    def __enter__(self) -> Self:
        """Listen to the logger."""
        if self._verbose and logger.level == logging.NOTSET:
            self._lowered = True
            logger.setLevel(logging.INFO)
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening, and restore the level."""
        logger.removeHandler(self)
        if self._lowered:
            logger.setLevel(logging.NOTSET)
            self._lowered = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._write_line(self.format(record))
        except Exception:  # noqa: BLE001 - logging's contract: a handler never raises
            self.handleError(record)


class Progress:
    """A context manager that shows what cases tell, and the records of the logger `harness`.

    Args:
        output: where lines go.
        block: what is drawn; None for the other styles.
        style: `block`; `lines`: one for each `LINE_SECONDS`; `none`: warnings alone.
        verbose: whether each record of the log is a line.
        anybody: whether a case begins with the first that it tells, in place of the one before: a
            verb works on one at a time.
        prefix: what lines of the log begin with and need not: there is one case alone.
        close: called in the end.
        clock: tells the seconds.

    """

    def __init__(
        self,
        output: Output,
        block: Block | None = None,
        *,
        style: Style,
        verbose: bool = False,
        anybody: bool = False,
        prefix: str = "",
        close: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = RunState()
        self._output = output
        self._block = block if style == "block" else None
        self._style = style
        self._verbose = verbose
        self._anybody = anybody
        self._prefix = prefix
        self._close = close
        self._clock = clock
        self._lock = threading.RLock()
        self._last_line = clock()
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Listen to events and to the log."""
        self._open.enter_context(listening(self.take))
        verbose = self._verbose or self._block is not None
        self._open.enter_context(LogLines(self._record, verbose=verbose))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening, and leave the terminal as it was."""
        self._open.close()
        self._ended.set()
        if self._ticker is not None:
            self._ticker.join()
        with self._lock:
            self.state.running.clear()
            with suppress(Exception):  # as above
                self._hide()
                if self._close is not None:
                    self._close()

    def take(self, event: Event) -> None:
        """Take an event, in any thread."""
        with self._lock:
            if self._anybody and event.case_id not in self.state.running:
                self.state.running.clear()
                if event.kind not in ("begin", "end"):
                    self.state.take(Event(event.case_id, "begin"), self._clock())
            self.state.take(event, self._clock())
            try:
                if event.kind == "begin" and _is_main_thread():
                    # What others have in a buffer would come out within what is drawn.
                    self._output.settle()
                self._show()
            except Exception:  # noqa: BLE001 - a terminal that is gone costs no result
                self._style, self._block = "none", None

    def _show(self) -> None:
        if self._style == "none":
            return
        if not self.state.running:
            self._hide()
            return
        if self._ticker is None:
            self._ticker = threading.Thread(
                target=self._run, name="gpu-profile progress", daemon=True
            )
            self._ticker.start()
        self._draw()

    def tick(self) -> None:
        """Show how the time passes: called once a second, by a thread."""
        with self._lock:
            if not self.state.running:
                self._last_line = self._clock()
            elif self._block is not None:
                self._draw()
            elif self._clock() - self._last_line >= LINE_SECONDS:
                self._last_line = self._clock()
                for case in tuple(self.state.running.values()):
                    words = ", ".join(self.state.parts(case, self._clock()))
                    self._output.line_from_elsewhere(f"gpu-profile: {words}")

    @contextmanager
    def out_of_the_way(self) -> Iterator[None]:
        """Draw nothing within the block, in which others write to the terminal."""
        with self._lock:
            self._hide()
            try:
                yield
            finally:
                if self.state.running:
                    self._draw()

    def _record(self, text: str) -> None:
        """Write what was logged as a line; on a terminal, unless verbose, as the block's last."""
        with self._lock:
            self._last_line, text = self._clock(), text.removeprefix(self._prefix)
            if self._block is None or not self.state.running:
                self._output.line(text)
            elif self._verbose:
                self._block.above(text)
            else:
                for case in self.state.running.values():
                    case.say(text)
                self._draw()

    def _draw(self) -> None:
        if self._block is None or not self.state.running:
            return
        now = self._clock()
        lines: list[tuple[str, str]] = []
        for case in self.state.running.values():
            lines.append(("  ".join(self.state.parts(case, now)), "bold"))
            if len(self.state.running) == 1:
                lines = [*self._in_room(lines[0][0], self.state.parts(case, now))]
                lines += [(f"  {case.said}", "dim")] if case.said and not self._verbose else []
        self._block.draw(lines)

    def _in_room(self, line: str, parts: tuple[str, ...]) -> list[tuple[str, str]]:
        """Return one line for all parts, or where there is no room one for each."""
        assert self._block is not None, "only a block has a width"
        if len(line) < self._block.columns:
            return [(line, "bold")]
        return [(parts[0], "bold"), *((f"  {part}", "") for part in parts[1:])]

    def _hide(self) -> None:
        if self._block is not None:
            self._block.hide()

    def _run(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            try:
                self.tick()
            except Exception:  # noqa: BLE001 - as above; pytest would warn of the thread's end
                return


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
