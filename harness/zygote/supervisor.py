"""Supervises one probe: forks it, listens to it and to the parent, and reaps what it leaves.

A supervisor is itself a fork of the zygote and lives for one request. Requests and results pass
through it and never through the zygote's heap, so every probe, early or late, starts from the same
heap. Otherwise the largest batch on a budget would move by a sample during a zygote's life.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.protocol import CaseSpec, Event, Kill, Report, Request

    Become = Callable[[Request, int, tuple[int, ...]], None]
    """Turns a fork into a probe.

    Takes the request, the descriptor to write to, and the descriptors to close.
    """

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Channel:
    """JSON lines to and from the parent."""

    def __init__(self, inbox: int, outbox: int) -> None:
        self.inbox = inbox
        self.outbox = outbox
        self._buffer = b""

    def receive_case(self) -> CaseSpec | None:
        """Wait for the first line and return it; None when the parent is gone."""
        line = self._receive_line()
        return None if line is None else json.loads(line)

    def receive_request(self, begun: bytes = b"") -> Request | Kill | None:
        """Wait for a further line and return it; None when the parent is gone.

        begun: the first bytes of the line, which are already read.
        """
        line = self._receive_line(begun)
        return None if line is None else json.loads(line)

    def _receive_line(self, begun: bytes = b"") -> bytes | None:
        self._buffer += begun
        while b"\n" not in self._buffer:
            chunk = os.read(self.inbox, 1 << 16)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def send(self, message: Event) -> None:
        """Write a line. If the parent has died, the next read will notice."""
        with contextlib.suppress(BrokenPipeError):
            data = json.dumps(message).encode() + b"\n"
            while data:
                data = data[os.write(self.outbox, data) :]


def supervise(channel: Channel, begun: bytes, become_probe: Become) -> None:
    """Serve the request that begins with the bytes `begun`; leave no process of its probe."""
    die_with_parent()
    adopt_orphans()
    request = channel.receive_request(begun)
    if request is None or request["task"] == "kill":  # the probe to kill has ended by itself
        return
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        become_probe(request, writer, (channel.inbox, channel.outbox, reader))
    os.close(writer)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)  # the probe does the same; either may be first
    channel.send({"event": "started", "pid": pid})
    lines = _listen(channel, pid, reader)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    leftovers = kill_descendants()
    told: Report = {}
    for line in lines:
        with contextlib.suppress(ValueError):  # the last line of a killed probe may be cut
            told |= json.loads(line)
    channel.send(
        {
            "event": "ended",
            "exit_code": os.waitstatus_to_exitcode(status),
            "phase": told.get("phase"),
            "result": told.get("result"),
            "afresh": told.get("afresh"),
            "leftovers": leftovers,
        }
    )


def _listen(channel: Channel, pid: int, reader: int) -> list[bytes]:
    """Collect the probe's lines until it ends; kill it when the parent sends another request."""
    collected = b""
    process = os.pidfd_open(pid)
    watched = [reader, process, channel.inbox]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if reader in ready:
            chunk = os.read(reader, 1 << 16)
            collected += chunk
            if not chunk:  # closed by the probe, which may live on
                watched.remove(reader)
        if channel.inbox in ready:
            channel.receive_request()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
            select.select([process], [], [])
            ready.append(process)
        if process in ready:
            # A grandchild may hold the pipe open: read what is there without waiting for its end.
            os.set_blocking(reader, False)
            with contextlib.suppress(BlockingIOError):
                while chunk := os.read(reader, 1 << 16):
                    collected += chunk
            return collected.splitlines()


def kill_descendants() -> int:
    """Kill the children of this process, adopted orphans included; return how many it killed."""
    killed = 0
    deadline = time.monotonic() + 5
    while (children := _children()) and time.monotonic() < deadline:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
                killed += 1
    return killed


def _children() -> list[int]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / "children").read_text(encoding="ascii").split()]
    return found


def die_with_parent(number: int | None = signal.SIGKILL) -> None:
    """Ask the kernel to send this process a signal when its parent ends; None asks for none.

    The setting survives an `exec`.
    """
    _prctl(_PR_SET_PDEATHSIG, number or 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
