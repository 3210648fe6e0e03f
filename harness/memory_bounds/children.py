"""Keeps a probe's memory limit from the processes that it starts.

A process inherits its parent's limits. A compiler, a JIT extension or a loader's worker would then
fail within the budget of a training that is not in it: the limit is on what the case itself holds.
"""

from __future__ import annotations

import _posixsubprocess
import os
import subprocess
from functools import wraps
from resource import RLIM_INFINITY, RLIMIT_DATA, getrlimit, setrlimit
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_started: list[bool] = []


def free_children() -> None:
    """Start every further process of this one without its limit; call it once or often.

    A fork lifts the limit in the child. Where native code forks and starts a program, no Python
    runs in the child before it, so the limit is lifted here until the program runs: the forking
    thread waits for that, and holds Python's lock.
    """
    if _started:
        return
    _started.append(True)
    os.register_at_fork(after_in_child=_lift)
    # `subprocess` has a name of its own for it, `multiprocessing` looks it up.
    unbounded: Any = _unbounded(_posixsubprocess.fork_exec)
    _posixsubprocess.fork_exec = unbounded
    if hasattr(subprocess, "_fork_exec"):
        subprocess._fork_exec = unbounded  # noqa: SLF001 - the name that Popen calls
    for name in ("posix_spawn", "posix_spawnp"):
        setattr(os, name, _unbounded(getattr(os, name)))
    system: Any = _system
    os.system = system


def _unbounded(start: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that starts a process, without a limit while it does so."""

    @wraps(start)
    def call(*values: Any, **more: Any) -> Any:
        soft, hard = getrlimit(RLIMIT_DATA)
        setrlimit(RLIMIT_DATA, (hard, hard))
        try:
            return start(*values, **more)
        finally:
            setrlimit(RLIMIT_DATA, (soft, hard))

    return call


def _system(command: str) -> int:
    """Run a command in the shell, as `os.system` does: that one forks in native code."""
    code = subprocess.call(command, shell=True, close_fds=False)  # noqa: S602 - what it is for
    return code << 8 if code >= 0 else -code


def _lift() -> None:
    setrlimit(RLIMIT_DATA, (RLIM_INFINITY, getrlimit(RLIMIT_DATA)[1]))
