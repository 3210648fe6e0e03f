"""Sends the events of xdist's workers to the controller, which shows them.

A worker has no terminal, and xdist reports only tests that have ended. Events go through a socket
of datagrams in Linux's abstract namespace, so no file is left. What cannot be sent is lost, and no
case waits for it.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, get_args
from uuid import uuid4

from harness.progress.events import Event, Kind, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAX_BYTES = 16_384
_MAX_TEXT = 400


@contextmanager
def sending_events(address: str) -> Iterator[None]:
    """Send each event within the block to the controller that listens at an address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)

        def send(event: Event) -> None:
            fields = asdict(event) | {"text": event.text[:_MAX_TEXT]}
            with suppress(OSError):  # a controller that is gone, or too busy to listen
                sender.sendto(json.dumps(fields).encode(), _name(address))

        with listening(send):
            yield


class Receiver:
    """Takes the events of workers, in a thread of its own.

    take: gets each event, in that thread.
    """

    def __init__(self, take: Callable[[Event], None]) -> None:
        self.address = f"gpu-profile-{uuid4().hex}"
        """What workers are given."""
        self._take = take
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_name(self.address))
        self._thread = threading.Thread(target=self._run, name="gpu-profile workers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", _name(self.address))
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while data := self._socket.recv(_MAX_BYTES):
            event = parse_event(data)
            if event is not None:
                self._take(event)


def parse_event(data: bytes) -> Event | None:
    """Return the event of a datagram; None where it is none: anybody may have sent it."""
    try:
        event = Event(**json.loads(data))
    except (ValueError, TypeError, RecursionError):
        return None
    is_one = (
        isinstance(event.case_id, str)
        and event.kind in get_args(Kind)
        and isinstance(event.text, str)
        and (event.batch_size is None or type(event.batch_size) is int)
        and isinstance(event.fits, bool)
    )
    return event if is_one else None


def _name(address: str) -> str:
    return f"\0{address}"
