"""Loggers for the tests, with one habit each; none needs a library."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


class Recording:
    """Writes all that it is given to a file, a line of JSON for each call."""

    def __init__(self, file: str, name: str = "") -> None:
        self._file = Path(file)
        self._write("made", name)

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """Take the parameters."""
        self._write("parameters", params)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Take metrics."""
        self._write("metrics", [step, metrics])

    def log_image(self, key: str, images: list[str]) -> None:
        """Take pictures."""
        self._write("image", [key, images])

    def finalize(self, status: str) -> None:
        """Take the end."""
        self._write("end", status)

    def _write(self, what: str, value: object) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps([what, value]) + "\n")


class Raises(Recording):
    """Raises with its password in the message."""

    def __init__(self, password: str) -> None:
        self.password = password

    def log_hyperparams(self, params: dict[str, Any]) -> None:  # noqa: ARG002 - a logger's
        """Raise."""
        raise PermissionError(f"no login with {self.password} at\x1b[31m example.org\nmore")


class RaisesForOne(Recording):
    """Raises for one case, and takes the others."""

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """Raise, or take the parameters."""
        if params["resolution"] == 1:
            raise ValueError("not this one")
        super().log_hyperparams(params)


class Hangs(Recording):
    """Never comes to its end, and starts a thread that never does either."""

    def __init__(self) -> None:
        threading.Thread(target=threading.Event().wait).start()
        threading.Event().wait()


class Exits(Recording):
    """Ends its process in a way that no handler sees."""

    def __init__(self) -> None:
        os._exit(3)


class Loud(Recording):
    """Prints without end, and writes into every descriptor that it finds."""

    def log_hyperparams(self, params: dict[str, Any]) -> None:  # noqa: ARG002 - a logger's
        """Print."""
        print("x" * 1_000_000)  # noqa: T201 - its habit
        sys.stderr.write("y" * 1_000_000)
        os.write(int(sys.argv[1]), b'not json\n[1]\n{"case": 1}\n')


class NeedsWandb(Recording):
    """Misses a library, as Lightning's loggers do."""

    def __init__(self) -> None:
        import wandb_that_is_not_there  # type: ignore[import-not-found] # noqa: F401, PLC0415
