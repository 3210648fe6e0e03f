"""Reserves the port where the ranks of one probe meet, so that no other run can take it."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOST = "127.0.0.1"


@contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a free port of this machine while the block runs.

    The socket is bound and never listens. Linux gives such a port to nobody who asks for any port,
    and lets rank 0 listen there, because torch's store binds with SO_REUSEADDR as well: socket(7).

    Raises MachineError where there is no port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((_HOST, 0))
        except OSError as error:
            raise MachineError(
                f"the ranks of a probe have no port to meet at on {_HOST}: {error}"
            ) from error
        yield int(held.getsockname()[1])
