"""Finds the threads that building a workload starts, and which of them hinder a fork.

A fork has the locks of all threads, but only the thread that forks. What another one held at that
moment is held for ever.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from importlib.abc import MetaPathFinder
from os import _exit, fork, listdir, waitpid
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_open = open

# Native threads whose library prepares for forks. jemalloc's thread only returns unused memory; it
# takes jemalloc's locks before a fork, and a fork goes on without the thread. pyarrow starts it.
_PREPARED = frozenset({"jemalloc_bg_thd"})
# Python's threads that hold no lock as long as nobody shows progress.
_IDLE = frozenset({"tqdm._monitor"})


class ThreadWatch(MetaPathFinder):
    """Notes new threads, and the imports that start them. A context manager around a building."""

    def __init__(self) -> None:
        self._known = _threads()
        self._started: dict[int, str | None] = {}
        self._imported: list[str] = []

    def __enter__(self) -> Self:
        """Begin to watch."""
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no longer."""
        with suppress(ValueError):  # whoever replaced the list removed it
            sys.meta_path.remove(self)
        self._note()

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> None:
        """Note what has started since the last import began; another finder finds the module."""
        self._note()
        self._imported.append(fullname)

    def hindrance(self) -> str | None:
        """Return the threads that hinder a fork, in words; None if there are none."""
        if not self._living():
            return None
        # Some libraries end their threads before a fork, as OpenBLAS does.
        pid = fork()
        if pid == 0:
            _exit(0)
        with suppress(ChildProcessError):
            waitpid(pid, 0)
        names = [name for tid in self._living() if (name := self._describe(tid)) is not None]
        if not names:
            return None
        return f"starts {len(names)} thread{'s' if len(names) > 1 else ''} ({', '.join(names)})"

    def _living(self) -> list[int]:
        living = _threads()
        return [tid for tid in self._started if tid in living]

    def _note(self) -> None:
        if new := _threads() - self._known:
            self._known |= new
            self._started |= dict.fromkeys(new, self._importing())

    def _importing(self) -> str | None:
        """Return the module whose import began last, unless all imports have ended."""
        under_way = any(
            getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False)
            for name in self._imported
        )
        return self._imported[-1] if under_way else None

    def _describe(self, tid: int) -> str | None:
        """Return the name of a thread, and the import that started it; None for a harmless one."""
        name = None
        with suppress(Exception):  # the user's code may have replaced what `threading` has
            for thread in threading.enumerate():
                if thread.native_id == tid:
                    if type(thread).__module__ in _IDLE:
                        return None
                    name = thread.name
        if name is None:
            name = _native_name(tid)
            if name in _PREPARED:
                return None
        started_by = self._started[tid]
        return name if started_by is None else f"{name}, started by the import of {started_by}"


def _threads() -> set[int]:
    """Return the threads of this process but the one that calls."""
    own = threading.get_native_id()
    return {int(tid) for tid in listdir("/proc/self/task")} - {own}  # noqa: PTH208 - bound above


def _native_name(tid: int) -> str:
    with suppress(OSError), _open(f"/proc/self/task/{tid}/comm", "rb") as stream:
        return stream.read().decode(errors="replace").strip()
    return "?"
