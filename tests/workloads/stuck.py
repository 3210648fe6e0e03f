"""A workload that is built only when somebody lets it: until then, whoever builds it is stuck."""

from __future__ import annotations

import signal
from pathlib import Path

from zoo import Net


class Stuck(Net):
    """A net that tells when it is being built, and then waits for ever unless it may go on.

    place: a folder with a named pipe `begun`, which gets a line, and a file `go` if it may go on.
    """

    def __init__(self, place: str) -> None:
        super().__init__()
        with Path(place, "begun").open("r+b", buffering=0) as pipe:
            pipe.write(b"begun\n")
        while not Path(place, "go").exists():
            signal.pause()
