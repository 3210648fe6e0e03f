"""Runs a program in a pseudo-terminal, and shows the screen that a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


class Terminal:
    """A terminal of some columns and rows with a program in it; its output goes to a screen."""

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        *,
        columns: int = 100,
        rows: int = 30,
    ) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=2000)
        self.raw = b""
        self._pieces: list[bytes] = []
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        self._set_size(columns, rows)
        variables = {**environment, "TERM": environment.get("TERM", "xterm-256color")}
        for name in ("COLUMNS", "LINES", "CI", "NO_COLOR"):
            if name not in environment:
                variables.pop(name, None)
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env=variables,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        self._set_size(columns, rows)
        self.screen.resize(rows, columns)

    def press_ctrl_c(self) -> None:
        """Send what Ctrl-C sends to the program."""
        os.killpg(self.process.pid, 2)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen without blanks at their ends, up to the last that has text."""
        shown = [line.rstrip() for line in self.screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    @property
    def text(self) -> str:
        """What was ever on the screen and scrolled out, and what is there now."""
        history = [
            "".join(row[column].data for column in range(self.screen.columns)).rstrip()
            for row in self.screen.history.top
        ]
        return "\n".join([*history, *self.lines])

    def run_until(self, seen: Callable[[list[str]], bool], seconds: float = 120.0) -> list[str]:
        """Read until the screen has what is sought; return its lines. Fails at the end."""
        deadline = time.monotonic() + seconds
        while not seen(self.lines):
            if not self._read(deadline):
                raise AssertionError("it was never on the screen:\n" + "\n".join(self.lines))
        return self.lines

    def run_to_the_end(self, seconds: float = 120.0) -> int:
        """Read all that the program writes; return its exit code."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self.process.wait(timeout=seconds)

    def close(self) -> None:
        """End the program and the terminal."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, 9)
            self.process.wait()
        os.close(self._master)

    def _read(self, deadline: float) -> bool:
        """Bring a piece of the output to the screen: what was drawn is seen before it is erased."""
        if not self._pieces and not self._receive(deadline):
            return False
        piece = self._pieces.pop(0)
        self.raw += piece
        self._stream.feed(piece)
        return True

    def _receive(self, deadline: float) -> bool:
        left = max(0.0, deadline - time.monotonic())
        if not select.select([self._master], [], [], left)[0]:
            return False
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # the program has closed its end
            return False
        self._pieces = [piece for piece in re.split(rb"(?=\r)", data) if piece]
        return bool(data)

    def _set_size(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
