"""Runs the process of a zygote: its pipes, its output, and its end together with all it started.

Whatever is written to the process's output is read here, also while nobody waits for an answer from
it: no probe ever waits for room in the pipe for longer than this process is busy elsewhere.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.pipes import LineBuffer
from harness.probes.messages import LONGEST_LINE
from harness.workload.int_keys import for_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.probes.log_files import BoundedLog
    from harness.protocol.case import CaseSpec
    from harness.protocol.messages import Kill, Request

# Seconds in which a zygote must have killed its probe and removed its files.
GOODBYE = 10.0
_CHUNK = 1 << 16
# The most that Linux lets every user have.
_PIPE_BYTES = 1 << 20


def start_program(environment: Mapping[str, str], log: int) -> subprocess.Popen[bytes]:
    """Start the program of a zygote in a session of its own; its output goes to a descriptor."""
    return subprocess.Popen(
        # -P: a user's own package called `harness` must not come before this one.
        [sys.executable, "-P", "-m", "harness.zygote"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


class ZygoteProcess:
    """The process `python -m harness.zygote`.

    Args:
        environment: all of its environment.
        log: takes its output until `redirect` names another.

    """

    def __init__(self, environment: Mapping[str, str], log: BoundedLog) -> None:
        self._log: BoundedLog | None = log
        self._lines = LineBuffer(LONGEST_LINE)
        self._received: list[bytes] = []
        self._output, writer = os.pipe()
        try:
            with suppress(OSError):
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._process = start_program(environment, writer)
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(writer)
        assert self._process.stdout is not None
        self._answers = self._process.stdout.fileno()
        self._watched = select.poll()
        self._watched.register(self._answers, select.POLLIN)
        self._watched.register(self._output, select.POLLIN)
        self.interrupted = False
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._watched.register(self._alarm, select.POLLIN)

    def interrupt(self) -> None:
        """End the wait of another thread in `receive`, and further ones, while `interrupted`."""
        self.interrupted = True
        os.eventfd_write(self._alarm, 1)

    def send(self, message: CaseSpec | Request | Kill) -> None:
        """Send a line. Raises BrokenPipeError when nobody reads there any more."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(for_json(message)).encode() + b"\n")
        self._process.stdin.flush()

    def receive(self, deadline: float, *, ends: bool = False) -> bytes | None:
        """Wait for a line and return it; None when the deadline passes first.

        ends: whether `interrupt` ends the wait, too.

        Raises EOFError when the other end is closed.
        """
        while not self._received:
            if ends and self.interrupted:
                return None
            ready = self._poll(deadline - time.monotonic())
            if self._answers not in ready and time.monotonic() >= deadline:
                return None  # output alone, even without end, is no answer
            if self._answers in ready:
                chunk = os.read(self._answers, _CHUNK)
                if not chunk:
                    self._watched.unregister(self._answers)
                    raise EOFError
                self._received += self._lines.feed(chunk)
        return self._received.pop(0)

    def redirect(self, log: BoundedLog | None) -> None:
        """Send the output to another log from here on; what is in the pipe belongs to the old."""
        waiting = array.array("i", [0])
        with suppress(OSError):
            fcntl.ioctl(self._output, termios.FIONREAD, waiting)
        # Not until the pipe is empty: something may write without end.
        while waiting[0] > 0:
            chunk = os.read(self._output, min(_CHUNK, waiting[0]))
            waiting[0] -= len(chunk) or waiting[0]
            self._take(chunk)
        self._log = log

    def is_stopped(self) -> bool:
        """Return whether a signal such as SIGSTOP has stopped the process."""
        with suppress(OSError):
            stat = Path(f"/proc/{self._process.pid}/stat").read_bytes()
            return stat.rpartition(b")")[2].split()[0] in (b"T", b"t")
        return False

    def kill_group(self, pid: int) -> None:
        """Kill a group of processes, if it is one of this session.

        The number came through a pipe that the user's code may write into.
        """
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == self._process.pid:
                os.killpg(pid, signal.SIGKILL)

    def resume(self) -> None:
        """Let the process, its supervisor and its children go on if a signal has stopped them."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGCONT)

    def wait(self) -> int | None:
        """Wait a little for the process to end; return its exit code, None if it lives on."""
        if self._process.poll() is not None:
            return self._process.returncode
        deadline = time.monotonic() + GOODBYE
        ended = os.pidfd_open(self._process.pid)
        self._watched.register(ended, select.POLLIN)
        try:
            while self._process.poll() is None and time.monotonic() < deadline:
                self._poll(deadline - time.monotonic())
        finally:
            self._watched.unregister(ended)
            os.close(ended)
        return self._process.returncode

    def end(self, *, is_built: bool) -> None:
        """End the process and everything it started."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()  # this asks the zygote to clean up and end
        with suppress(KeyError):  # it may be closed already
            self._watched.unregister(self._answers)
        self.resume()
        if not is_built:
            process.terminate()  # it reads nothing while it builds
        try:
            if self.wait() is None:
                started = _descendants(process.pid)
                # The group includes the processes that the user's constructors started.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                for pid in started:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
        finally:
            process.stdout.close()
            self.redirect(None)
            os.close(self._output)
            os.close(self._alarm)

    def _poll(self, seconds: float) -> set[int]:
        """Wait for an answer or for output, and take the output; return what else is ready."""
        ready = {number for number, _ in self._watched.poll(max(0.0, seconds) * 1000)}
        if self._alarm in ready:
            os.eventfd_read(self._alarm)
        if self._output in ready:
            chunk = os.read(self._output, _CHUNK)
            self._take(chunk)
            if not chunk:  # closed by the last process that could write
                self._watched.unregister(self._output)
        return ready

    def _take(self, chunk: bytes) -> None:
        if self._log is not None:
            self._log.write(chunk)


def _descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, directly or not."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += [int(child), *_descendants(int(child))]
    return found
