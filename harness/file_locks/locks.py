"""Takes the locks of files and folders that are free, and asks whether one is taken.

The kernel holds such a lock for as long as a process has the file open, so no lock outlives its
process. A lock file also names its holder, for those who wait.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.wording import shown_path

try:
    import fcntl
except ImportError:  # a platform without it has no such locks
    fcntl = None  # type: ignore[assignment] # `_flock` asks for it

if TYPE_CHECKING:
    from pathlib import Path

# Other systems than Linux answer EACCES where the lock is taken.
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


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
    text = f"{os.getpid()} {socket.gethostname()}\n".encode()
    with suppress(OSError):
        # Not to nothing: file systems give such a file's block back, and write it out in the end.
        if os.fstat(descriptor).st_size > len(text):
            os.ftruncate(descriptor, len(text))
        os.pwrite(descriptor, text, 0)
