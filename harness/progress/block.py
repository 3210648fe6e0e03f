"""Draws a few lines on a terminal, below what stands there, and takes them away again."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from rich.console import Console
    from rich.live import Live

_LINE_UP, _ERASE_BELOW = "\x1b[A", "\x1b[J"


class Block:
    """Lines that are replaced in place; the cursor is seen all the time.

    Args:
        stream: a terminal, past any capture.
        color: whether lines have styles; NO_COLOR is obeyed anyway.
        column: returns the column of the cursor before the block is drawn, and the cursor goes back
            there. None: nobody knows it, and the cursor stays on the line below.
        prints: whether the program's own output may come in between. What would go to a terminal
            then goes above the block.

    """

    def __init__(
        self,
        stream: TextIO,
        *,
        color: bool,
        column: Callable[[], int | None],
        prints: bool = False,
    ) -> None:
        self._stream = stream
        self._color = color
        self._column = column
        self._prints = prints
        self._back: int | None = None
        self._live: Live | None = None
        self._console: Console | None = None
        self._rows: list[int] = []
        self._width = 0

    def draw(self, lines: Sequence[tuple[str, str]]) -> None:
        """Draw lines of text and style, each cut to the width; those before are replaced."""
        from rich.console import Group  # noqa: PLC0415 - where nothing is drawn, it is not loaded
        from rich.text import Text  # noqa: PLC0415 - as above

        live = self._begin()
        self._fit()
        texts = [Text(text, style, no_wrap=True, overflow="ellipsis") for text, style in lines]
        live.update(Group(*texts), refresh=True)
        self._rows = [min(text.cell_len, self._width) for text in texts]

    def above(self, text: str) -> None:
        """Write a line above the block."""
        if self._console is None:
            self._stream.write(f"{text}\n")
            self._stream.flush()
            return
        self._back = None
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def hide(self) -> None:
        """Take the lines away; the cursor goes back to where it was."""
        live, self._live, self._console, self._rows = self._live, None, None, []
        if live is None:
            return
        live.stop()
        if self._back is not None:
            self._stream.write(f"{_LINE_UP}\x1b[{self._back + 1}G")
        self._stream.flush()

    def _begin(self) -> Live:
        from rich.console import Console  # noqa: PLC0415 - as above
        from rich.live import Live  # noqa: PLC0415 - as above

        if self._live is not None:
            return self._live
        self._back = self._column()
        if self._back is None or self._back:
            self._stream.write("\n")
        if self._prints or not self._back:
            self._back = None
        styles: dict[str, Any] = {} if self._color else {"color_system": None}
        self._width, height = self._size()
        self._console = Console(
            file=self._stream,
            force_terminal=True,
            force_jupyter=False,
            width=self._width,
            height=height,
            **styles,
        )
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=self._prints and _is_terminal(sys.stdout),
            redirect_stderr=self._prints and _is_terminal(sys.stderr),
            vertical_overflow="crop",
        )
        self._live.start()
        # A process that is killed would leave a terminal without a cursor.
        self._console.show_cursor(True)
        return self._live

    def _fit(self) -> None:
        """Follow the window's size: terminals that became narrower have wrapped what was drawn."""
        assert self._console is not None, "a block has begun"
        width, height = self._size()
        if width != self._width and self._rows:
            rows = sum(max(1, -(-row // width)) for row in self._rows)
            # `Live` goes up by the rows that it drew.
            down = "\n" * (len(self._rows) - 1)
            self._stream.write("\r" + _LINE_UP * (rows - 1) + _ERASE_BELOW + down)
        self._width = width
        self._console.size = (width, height)

    @property
    def columns(self) -> int:
        """The columns of the terminal as it is now."""
        return self._size()[0]

    def _size(self) -> tuple[int, int]:
        """Return columns and rows; COLUMNS makes a terminal narrower, and never wider."""
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns, rows = 80, 24
        asked = os.environ.get("COLUMNS", "")
        if asked.isdecimal() and int(asked):
            columns = min(columns or int(asked), int(asked))
        return columns or 80, rows or 24


def own_stream(stream: TextIO) -> TextIO:
    """Return a stream of one's own to where another one leads now, past a later capture.

    A stream without a file, as in a test, is returned as it is.
    """
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError):
        return stream
    encoding = getattr(stream, "encoding", None) or sys.getdefaultencoding()
    return os.fdopen(descriptor, "w", encoding=encoding, errors="backslashreplace")


def can_draw(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that moves its cursor when asked to."""
    return _is_terminal(stream) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
