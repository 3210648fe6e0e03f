"""Supervises one probe: forks it, listens to it and to the parent, and reaps what it leaves.

A supervisor is itself a fork of the zygote and lives for one request. Requests and results pass
through it and never through the zygote's heap, so every probe, early or late, starts from the same
heap. Otherwise the largest batch on a budget would move by a sample during a zygote's life.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from json import JSONDecoder
from os import (
    close,
    fork,
    kill,
    killpg,
    listdir,
    pidfd_open,
    pipe,
    read,
    set_blocking,
    setpgid,
    waitpid,
    waitstatus_to_exitcode,
)
from select import POLLIN, poll
from signal import SIGKILL
from time import monotonic
from typing import TYPE_CHECKING, Any

from harness.pipes import KeptPipe, LineBuffer, keep
from harness.zygote.prctl import adopt_orphans, die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.protocol.case import CaseSpec
    from harness.protocol.messages import Event, Kill, Request

    Become = Callable[[Request, KeptPipe, tuple[int, ...]], None]
    """Turns a fork into a probe.

    Takes the request, the pipe for its reports, and the descriptors to close.
    """

# More than the curve of the longest sweep needs.
_LONGEST_LINE = 64 << 20
# The part of a line that is no report which is shown.
_SHOWN = 200
_REPORTED = frozenset({"phase", "result", "afresh", "steps"})

_decode = JSONDecoder().decode
_open = open


class Channel:
    """JSON lines to and from the parent."""

    def __init__(self, inbox: int, outbox: int) -> None:
        self.inbox = inbox
        self.outbox = KeptPipe(outbox)
        self._lines = LineBuffer(_LONGEST_LINE)
        self._received: list[bytes] = []

    def receive_case(self) -> CaseSpec | None:
        """Wait for the first line and return it; None when the parent is gone."""
        case: CaseSpec | None = self._receive(b"")
        return case

    def receive_request(self, begun: bytes = b"") -> Request | Kill | None:
        """Wait for a further line and return it; None when the parent is gone.

        begun: the first bytes of the line, which are already read.
        """
        request: Request | Kill | None = self._receive(begun)
        return request

    def _receive(self, begun: bytes) -> Any:
        self._received += self._lines.feed(begun)
        while not self._received:
            chunk = read(self.inbox, 1 << 16)
            if not chunk:
                return None
            self._received += self._lines.feed(chunk)
        return _decode(self._received.pop(0).decode())

    def send(self, message: Event) -> None:
        """Write a line. If the parent has died, the next read will notice."""
        with suppress(BrokenPipeError):
            self.outbox.send(message)


class Reports:
    """The reports of a probe: the last value of each key counts."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.garbage: str | None = None
        """The beginning of the first line that is no report."""
        self._lines = LineBuffer(_LONGEST_LINE)

    def feed(self, chunk: bytes) -> None:
        """Take a chunk of the pipe. Its last line may be cut, if the probe was killed."""
        for line in self._lines.feed(chunk):
            report: Any = None
            with suppress(ValueError, RecursionError):
                report = _decode(line.decode())
            if isinstance(report, dict) and report.keys() <= _REPORTED:
                self.told |= report
            elif self.garbage is None:
                self.garbage = line[:_SHOWN].decode(errors="replace")


def supervise(channel: Channel, begun: bytes, become_probe: Become) -> None:
    """Serve the request that begins with the bytes `begun`; leave no process of its probe."""
    die_with_parent()
    adopt_orphans()
    request = channel.receive_request(begun)
    if request is None or request["task"] == "kill":  # the probe to kill has ended by itself
        return
    reader, writer = pipe()
    writer, low = keep(writer), writer
    close(low)
    pid = fork()
    if pid == 0:
        become_probe(request, KeptPipe(writer), (channel.inbox, channel.outbox.number, reader))
    close(writer)
    with suppress(PermissionError, ProcessLookupError):
        setpgid(pid, pid)  # the probe does the same; either may be first
    channel.send({"event": "started", "pid": pid})
    reports = Reports()
    _listen(channel, pid, reader, reports)
    _, status = waitpid(pid, 0)
    with suppress(ProcessLookupError, PermissionError):
        killpg(pid, SIGKILL)
    leftovers = kill_descendants()
    # Only now is there nobody left who could write without end.
    set_blocking(reader, False)
    with suppress(BlockingIOError):
        while chunk := read(reader, 1 << 16):
            reports.feed(chunk)
    reports.told.pop("steps", None)  # it is about to be known how it ended
    channel.send(
        {
            "event": "ended",
            "exit_code": waitstatus_to_exitcode(status),
            "report": reports.told,
            "garbage": reports.garbage,
            "leftovers": leftovers,
        }
    )


def _listen(channel: Channel, pid: int, reader: int, reports: Reports) -> None:
    """Collect a probe's reports until it ends; kill it when the parent sends another request."""
    process = pidfd_open(pid)
    # Not select(): it knows no descriptor above 1023.
    watched = poll()
    for descriptor in (reader, process, channel.inbox):
        watched.register(descriptor, POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in watched.poll()}
        if reader in ready:
            chunk = read(reader, 1 << 16)
            reports.feed(chunk)
            if (steps := reports.told.pop("steps", None)) is not None:
                channel.send({"event": "progress", "steps": steps})
            if not chunk:  # closed by the probe, which may live on
                watched.unregister(reader)
        if channel.inbox in ready:
            channel.receive_request()
            with suppress(ProcessLookupError):
                killpg(pid, SIGKILL)
            kill(pid, SIGKILL)
            ended = poll()
            ended.register(process, POLLIN)
            ended.poll()
            return
        if process in ready:
            return


def kill_descendants(spared: frozenset[int] = frozenset()) -> int:
    """Kill the children of this process, adopted orphans included; return how many it killed.

    spared: children that live on.
    """
    killed = 0
    deadline = monotonic() + 5
    while (found := children() - spared) and monotonic() < deadline:
        for pid in found:
            with suppress(ProcessLookupError):
                kill(pid, SIGKILL)
            with suppress(ChildProcessError):
                waitpid(pid, 0)
                killed += 1
    return killed


def children() -> set[int]:
    """Return the children of this process, adopted orphans included."""
    found: set[int] = set()
    for task in listdir("/proc/self/task"):  # noqa: PTH208 - bound above
        with suppress(OSError), _open(f"/proc/self/task/{task}/children", "rb") as stream:
            found |= {int(pid) for pid in stream.read().split()}
    return found


def flush_streams() -> None:
    """Flush what Python's streams hold: a fork would print it again.

    The user's code may have replaced them by anything.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
