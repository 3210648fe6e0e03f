"""Replaces files in one piece, one writer at a time.

Readers see the old file or the new one, never a part of it. The same holds after a crash.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.errors import HarnessError
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_WAIT_SECONDS = 60
_POLL_SECONDS = 0.05


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a new file beside `path`; it replaces `path` if the block succeeds.

    Creates missing parent folders. The data reach the disk before the name does. Raises OSError.

    mode: permissions of the file; None for those that the umask allows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner may read.
        temporary.chmod(0o666 & ~_umask() if mode is None else mode)
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Keep other writers away while the caller reads, changes and writes a file.

    Yields the path of the file that links lead to. Removes the temporary files that killed writers
    left. Raises HarnessError when the file cannot be written, or when another process writes in its
    folder for longer than a minute.
    """
    target = Path(os.path.realpath(path))
    refuse_read_only(target)
    try:
        with _alone_in(target.parent):
            _remove_remains(target)
            yield target
    except Timeout as error:
        raise HarnessError(
            f"{shown_path(path)}: another process has been writing it, or a file beside it, for "
            f"{_WAIT_SECONDS} s: wait for it or end it"
        ) from error
    except OSError as error:
        raise HarnessError(
            f"{shown_path(path)}: cannot be written: {error.strerror or error}"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file, unless it holds the text already. Raises as `writing` does."""
    with writing(path) as target:
        put_text(target, text)


def put_text(target: Path, text: str) -> None:
    """Write a text to the path that `writing` yields. Raises OSError."""
    data, mode = text.encode(), None
    if target.exists():
        if target.read_bytes() == data:
            return
        mode = stat.S_IMODE(target.stat().st_mode)
    with replacing(target, mode) as temporary:
        temporary.write_bytes(data)


def refuse_read_only(path: Path) -> None:
    """Raise HarnessError, with a remedy, when a file cannot be written."""
    target = Path(os.path.realpath(path))
    folder = target.parent
    if not folder.is_dir():
        raise HarnessError(
            f"{shown_path(target)}: cannot be written: there is no folder {folder}; create it"
        )
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise HarnessError(
            f"{shown_path(target)}: cannot be written: the folder {folder} is read-only"
        )
    if target.exists() and not target.stat().st_mode & 0o222:
        # Replacing the file would succeed, but somebody made it read-only on purpose.
        raise HarnessError(
            f"{shown_path(target)}: cannot be written: the file is read-only "
            "(chmod u+w to allow it)"
        )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Be the only process that writes into a folder; raises Timeout.

    The folder itself is locked. A guard file beside the lockfile would show up in `git status`, and
    removing it would let two waiting processes in at once. A guard file in the temporary folder
    does not keep out processes with another TMPDIR. It serves only where folders cannot be locked,
    as on NFS.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not (locked := _lock(descriptor)):
            if locked is None:
                with FileLock(_guard_of(folder), timeout=_WAIT_SECONDS):
                    yield
                return
            if time.monotonic() > deadline:
                raise Timeout(str(folder))
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock a folder until its descriptor is closed; return whether it was free.

    Returns None where folders cannot be locked.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _guard_of(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    # Each user has a file of their own: a sticky folder denies access to another user's.
    return Path(tempfile.gettempdir()) / f"gpu-profile-{os.getuid()}-{name}.lock"


def _remove_remains(target: Path) -> None:
    """Remove the files of killed writers: no other writer lives while this one holds the folder."""
    for path in target.parent.iterdir():
        if path.name.startswith(f".{target.name}.") and path.suffix == ".tmp":
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Return the umask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
