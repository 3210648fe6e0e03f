"""The files through which the processes of a program tell its probe what they have seen.

Written in the program's Python and read by the probe. The user's code may write there, too, so
what is read is checked.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "GPU_PROFILE_COMMAND"
"""The variable that names the folder of reports; it is set in every process of the program."""
REQUEST = "request.json"
"""What the probe asks: see `Asked`."""
PYTHON = "python"
"""Is there when any Python of the program has started with `sitecustomize`."""
BROKEN = "broken"
"""Tells why a process could not be looked into."""
_MAX_BYTES = 4 << 20
_MAX_REPORTS = 1_000


class Report(dict[str, Any]):
    """What one process has seen; each value has the type that it is read with, or is missing."""

    def number(self, name: str) -> int:
        """Return a whole number from 0; 0 where it is missing."""
        value = self.get(name)
        return value if type(value) is int and 0 <= value < 1 << 62 else 0

    def text(self, name: str) -> str | None:
        """Return a text; None where it is missing."""
        value = self.get(name)
        return value if isinstance(value, str) else None

    def flag(self, name: str) -> bool:
        """Return whether something is so."""
        return self.get(name) is True

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a mapping; an empty one where it is missing."""
        value = self.get(name)
        return value if isinstance(value, dict) else {}


def path_of(path: Path, pid: int) -> Path:
    """Return the path of a file that each rank of a program writes for itself."""
    return path.with_name(f"{path.name}.{pid}")


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Write a file, so that a reader sees all of it or what was there before.

    A process that outlives its probe finds no folder any more, and goes on.
    """
    with suppress(OSError):
        temporary = folder / f".{name}"
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(folder / name)


def read_all(folder: Path) -> list[Report]:
    """Return the reports of a program's processes, that with the most steps first."""
    found: list[Report] = []
    for name in sorted(os.listdir(folder))[:_MAX_REPORTS]:  # noqa: PTH208 - names are all
        stem, dot, ending = name.partition(".")
        if not (stem.isdecimal() and dot and ending == "json"):
            continue
        with suppress(OSError, ValueError, RecursionError):
            path = folder / name
            if path.stat().st_size <= _MAX_BYTES:
                content = json.loads(path.read_text(encoding="utf-8"))
                found += [Report(content)] if isinstance(content, dict) else []
    return sorted(found, key=lambda report: -report.number("steps"))
