"""Events of xdist's workers on their way to the controller."""

from __future__ import annotations

import json
import queue

import pytest

from harness.progress.events import Event, tell
from harness.progress.workers import Receiver, parse_event, sending_events


def test_events_arrive() -> None:
    """What a worker tells is taken by the controller, as it was told."""
    taken: queue.Queue[Event] = queue.Queue()
    receiver = Receiver(taken.put)
    sent = Event("net", "probe", "batch 8 fits", batch_size=8, fits=True)
    try:
        with sending_events(receiver.address):
            tell(sent)
        assert sent == taken.get(timeout=30)
    finally:
        receiver.close()


def test_nobody_listens() -> None:
    """A controller that has gone stops no worker."""
    receiver = Receiver(print)
    receiver.close()
    with sending_events(receiver.address):
        tell(Event("net", "begin"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        receiver._socket.recv(1)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 10_000,
        json.dumps({"case_id": "a", "kind": "ruin"}).encode(),
        json.dumps({"case_id": 1, "kind": "begin"}).encode(),
        json.dumps({"case_id": "a", "kind": "probe", "batch_size": "8"}).encode(),
        json.dumps({"case_id": "a", "kind": "begin", "more": 1}).encode(),
    ],
)
def test_what_is_no_event_is_left_out(data: bytes) -> None:
    """Anybody on the machine may send to a socket."""
    assert None is parse_event(data)
