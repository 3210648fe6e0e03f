"""The port where ranks meet: held against others, and free for rank 0."""

from __future__ import annotations

import socket

import pytest

from harness.probes.ranks.meeting import reserved_port


def test_the_port_is_there_for_who_shares_it() -> None:
    """Torch's store listens there, because it binds with SO_REUSEADDR; others cannot."""
    with reserved_port() as port, socket.socket() as store, socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        store.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        store.bind(("", port))
        store.listen()


def test_each_probe_has_a_port_of_its_own() -> None:
    """Of two runs at the same time none meets the ranks of the other one."""
    with reserved_port() as one, reserved_port() as other:
        assert one != other
