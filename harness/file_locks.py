"""Waits for the locks of files and folders: for a limited time, and never without a word.

The kernel holds such a lock for as long as a process has the file open, so no lock outlives its
process. A lock file also names its holder, for those who wait.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import re
import socket
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.visible import one_line
from harness.wording import shown_path

try:
    import fcntl
    import pwd
except ImportError:  # a platform without it has no such locks
    fcntl = None  # type: ignore[assignment] # `_flock` asks for it

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_log = logging.getLogger("harness")

WAIT_SECONDS = 3600.0
"""How long to wait for another run's case to end, unless a run says otherwise."""

_SAY_AFTER_SECONDS = 3
# Waiting processes that asked in step would find the lock taken by one another.
_PAUSES = (0.02, 0.08)
# Other systems than Linux answer EACCES where the lock is taken.
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_HOLDER = re.compile(rb"(\d{1,10}) ([!-~]{1,64})\n")
_MAX_COMMAND = 100


class LockTimeoutError(MachineError):
    """Another process held a lock for too long."""


class NoLocksError(MachineError):
    """The file system, or the platform, has no locks of this kind."""


class HeldLock:
    """A lock that this process holds until `release`, or until it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._parts: tuple[HeldLock, ...] = ()

    @classmethod
    def of(cls, path: Path, *parts: HeldLock) -> HeldLock:
        """Return several locks as one, which is named by a path."""
        made = cls(path, -1)
        made._parts = parts
        return made

    def includes(self, path: Path) -> bool:
        """Return whether this is, or has as a part, the lock of a file."""
        return any(one.includes(path) for one in self._parts) or (
            self._descriptor >= 0 and self.path == path
        )

    def write(self, text: str) -> bool:
        """Write a line behind the holder's, for others to read; return whether it is there."""
        try:
            os.pwrite(self._descriptor, text.encode(), os.fstat(self._descriptor).st_size)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Give the lock back; the file stays, because others may be waiting for it."""
        for one in self._parts:
            one.release()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            # Not by closing alone: a fork may have the file open as well.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


@contextmanager
def locked(path: Path, what: str, *, seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock of a file or a folder while the block runs; a missing file is made.

    Arguments and errors are those of `lock_first`.
    """
    held = lock_first([path], what, seconds=seconds)
    try:
        yield
    finally:
        held.release()


def lock_first(
    paths: Sequence[Path],
    what: str,
    *,
    seconds: float = WAIT_SECONDS,
    attempt: Callable[[Path], HeldLock | None] | None = None,
) -> HeldLock:
    """Wait until one of several files or folders is free, and lock it.

    what: names what the lock guards, in the messages: `gpu-profile.lock`, `the folder runs/net`.
    seconds: how long to wait for other holders. After three of them a warning names them. Another
        worker of the same run is waited for as long as it takes: its case ends.
    attempt: takes a lock, or returns None while others are in its way; None: `try_lock`.

    Raises LockTimeoutError, NoLocksError, and OSError where a file cannot be opened.
    """
    attempt = attempt or try_lock
    start = time.monotonic()
    said = False
    while True:
        for path in paths:
            if (held := attempt(path)) is not None:
                return held
        waited = time.monotonic() - start
        if waited >= seconds and not all(map(_is_held_by_this_run, paths)):
            raise LockTimeoutError(
                f"{what}: {_holders(paths)} been using it for {seconds:g} s and more: wait for "
                "it or end it"
            )
        if waited >= _SAY_AFTER_SECONDS and not said:
            said = True
            _log.warning("%s: waiting for %s, up to %g s", what, _names(paths), seconds)
        time.sleep(random.uniform(*_PAUSES))  # noqa: S311 - no secret


def try_lock(path: Path, *, shared: bool = False) -> HeldLock | None:
    """Take the lock of a file or a folder; return None where another process holds it.

    shared: hold it in common with others that share it; it is not signed then.

    Raises NoLocksError where there are no locks, and OSError where the file cannot be opened. Never
    opens a link.
    """
    descriptor = _open(path)
    try:
        is_ours = _flock(path, descriptor, shared=shared) and _is_still(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if not is_ours:
        os.close(descriptor)
        return None
    if not shared:
        _sign(descriptor)
    return HeldLock(path, descriptor)


def is_locked(path: Path) -> bool:
    """Return whether anybody holds a lock now, also in common; one that cannot be read is free.

    It is taken for this moment. Whoever tries it meanwhile finds it taken, and tries again.
    """
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _TAKEN
    else:
        return False
    finally:
        os.close(descriptor)


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


def _names(paths: Sequence[Path]) -> str:
    return " and ".join(dict.fromkeys(map(holder_of, paths)))


def _holders(paths: Sequence[Path]) -> str:
    names = _names(paths)
    return f"{names} {'have' if ' and process' in names else 'has'}"


def _is_held_by_this_run(path: Path) -> bool:
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


def _open(path: Path) -> int:
    """Open a file or a folder that is locked by opening it; make the file if it is missing."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if path.is_dir():
        return os.open(path, os.O_RDONLY | flags)
    while True:
        try:
            return os.open(path, os.O_RDWR | flags)
        except PermissionError:
            # The file of another user: locking it needs no right to write.
            return os.open(path, os.O_RDONLY | flags)
        except FileNotFoundError:
            pass
        # O_EXCL, because Linux lets nobody open another user's file in /tmp with O_CREAT alone.
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o644)
            # Whatever the umask is: all who share a GPU must be able to lock it.
            os.fchmod(descriptor, 0o644)
            return descriptor


def _flock(path: Path, descriptor: int, *, shared: bool = False) -> bool:
    if fcntl is None:
        raise NoLocksError(f"{shown_path(path)}: cannot be locked: this platform has no flock")
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        # NFS without its lock daemon answers ENOLCK, FUSE ENOSYS; a folder on NFS answers EBADF.
        raise NoLocksError(
            f"{shown_path(path)}: cannot be locked: {error.strerror}; its file system has no locks"
        ) from error
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether a path still names the open file: someone may have replaced it meanwhile."""
    try:
        now = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(now, os.fstat(descriptor))


def _sign(descriptor: int) -> None:
    """Write who holds the lock into its file; a folder, and another user's file, stay unsigned."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


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
