"""Names the processes that hold a lock, for those who wait for it."""

from __future__ import annotations

import os
import re
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.visible import one_line

try:
    import pwd
except ImportError:  # a platform without users of this kind has no such locks, either
    pwd = None  # type: ignore[assignment] # nobody holds a lock there

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HOLDER = re.compile(rb"(\d{1,10}) ([!-~]{1,64})\n")
_MAX_COMMAND = 100


def holder_of(path: Path) -> str:
    """Return who holds a lock: `process 4711 (pytest --gpu-profile)`, else `another process`.

    The user is named, too, unless it is this process's.
    """
    pid, host = _holder(path)
    if pid is None:
        return "another process"
    if host is not None:
        return f"process {pid} on {host}"
    whose = f"process {pid}{_of_user(pid)}"
    command = _command(pid)
    return f"{whose} ({command})" if command else whose


def names_of(paths: Sequence[Path]) -> str:
    """Return who holds these locks: `process 4711 (pytest) and process 4712 (pytest)`."""
    return " and ".join(dict.fromkeys(map(holder_of, paths)))


def holders_of(paths: Sequence[Path]) -> str:
    """Return who holds these locks with its verb: `process 4711 (pytest --gpu-profile) has`."""
    names = names_of(paths)
    return f"{names} {'have' if ' and process' in names else 'has'}"


def is_held_by_this_run(path: Path) -> bool:
    """Return whether another of xdist's workers of this run has a lock; this process is none."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return False
    pid, host = _holder(path)
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - no path of ours
            parent = int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return host is None and parent == os.getppid() and pid != os.getpid()


def _of_user(pid: int) -> str:
    """Return ` of alice` for another user's process, else nothing."""
    try:
        owner = os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116 - no path of ours
        return "" if owner == os.getuid() else f" of {one_line(pwd.getpwuid(owner).pw_name)}"
    except (OSError, KeyError):
        return ""


def _holder(path: Path) -> tuple[int | None, str | None]:
    """Return the process that holds a lock, and its machine if that is another one."""
    nobody = (None, None)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return nobody
    try:
        status = os.fstat(descriptor)
        signed = (
            _HOLDER.match(os.pread(descriptor, 100, 0)) if stat.S_ISREG(status.st_mode) else None
        )
    except OSError:
        return nobody
    finally:
        os.close(descriptor)
    if (pid := _locker(status)) is not None:
        return pid, None
    if signed is None:
        return nobody
    host = one_line(signed[2].decode())
    return int(signed[1]), None if host == socket.gethostname() else host


def _locker(status: os.stat_result) -> int | None:
    """Return the process of this machine that the kernel lists as the holder of a lock."""
    device = status.st_dev
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{status.st_ino}"
    with suppress(OSError, ValueError), open("/proc/locks", encoding="ascii") as locks:  # noqa: PTH123 - no path of ours
        for line in locks:
            # "1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF"; waiting ones have "->" second.
            match line.split():
                case [_, "FLOCK", _, "WRITE" | "READ", pid, where, *_] if (
                    where == wanted and int(pid) > 0
                ):
                    return int(pid)
    return None


def _command(pid: int) -> str:
    """Return the command line of a process, cut; empty where it cannot be read."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - no path of ours
            words = file.read(4096).rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    text = one_line(b" ".join(words).decode(errors="replace"))
    return text if len(text) <= _MAX_COMMAND else f"{text[:_MAX_COMMAND]}…"
