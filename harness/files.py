"""Replaces files in one piece, one writer at a time.

Readers see the old file or the new one, never a part of it. The same holds after a crash.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.file_locks import LockTimeoutError, NoLocksError, lock_first, locked, try_lock
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.file_locks import HeldLock

_WAIT_SECONDS = 60


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new file beside `path`; it replaces `path` if the block succeeds.

    The new file gets the permissions of the old one, and as far as this user may give them, its
    owner, group and extended attributes, such as access lists. Without an old file it gets the
    permissions that the umask allows. Creates missing parent folders. The data reach the disk
    before the name does. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        _take_over(path, temporary)
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def writing(path: Path, *, follow: bool = True) -> Iterator[Path]:
    """Keep other writers away while the caller reads, changes and writes a file.

    Yields the path of the file that links lead to, or the path itself if not `follow`: writing then
    replaces the link. Removes the temporary files that killed writers left. Raises HarnessError
    when the file cannot be written, when other processes write in its folder for longer than a
    minute, and when nothing can keep other writers away.
    """
    target = (
        Path(os.path.realpath(path)) if follow else Path(os.path.realpath(path.parent), path.name)
    )
    if follow or not target.is_symlink():
        refuse_read_only(target)
    try:
        with _alone_in(target.parent, shown_path(path)):
            _remove_remains(target)
            yield target
    except LockTimeoutError as error:
        raise HarnessError(f"{error}; it writes this file, or one beside it") from error
    except NoLocksError as error:
        raise HarnessError(
            f"{shown_path(path)}: cannot be written safely: neither its folder nor the temporary "
            "folder can be locked against other writers; set TMPDIR to a folder on a local disk"
        ) from error
    except OSError as error:
        raise HarnessError(
            f"{shown_path(path)}: cannot be written: {error.strerror or error}"
        ) from error


def write_text(path: Path, text: str, *, follow: bool = True) -> None:
    """Write a file, unless it holds the text already. Arguments and errors as in `writing`."""
    with writing(path, follow=follow) as target:
        put_text(target, text)


def put_text(target: Path, text: str) -> None:
    """Write a text to the path that `writing` yields. Raises OSError."""
    data = text.encode()
    if target.is_file() and not target.is_symlink() and target.read_bytes() == data:
        return
    with replacing(target) as temporary:
        temporary.write_bytes(data)


def write_parts(path: Path, parts: Iterable[str], *, follow: bool = True) -> None:
    """Write a file that is too large to be held as a whole. Arguments and errors as in `writing`.

    parts: its text; an error that they raise leaves the file as it is.
    """
    with (
        writing(path, follow=follow) as target,
        replacing(target) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        file.writelines(parts)


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
def _alone_in(folder: Path, what: str) -> Iterator[None]:
    """Be the only process that writes into a folder. Raises LockTimeoutError and NoLocksError.

    The folder itself is locked. A guard file beside the lockfile would show up in `git status`, and
    removing it would let two waiting processes in at once. A guard file in the temporary folder
    does not keep out processes with another TMPDIR. It serves only where folders cannot be locked,
    as on NFS.
    """
    try:
        held = _next_in_turn(folder, what)
    except NoLocksError:
        held = lock_first([_beside(folder, "lock")], what, seconds=_WAIT_SECONDS)
    try:
        yield
    finally:
        held.release()


def _next_in_turn(folder: Path, what: str) -> HeldLock:
    """Lock a folder when its turn has come.

    A process that writes again and again would take the lock anew before those who wait look. So
    whoever waits holds a second lock, which others must pass before they may take the first.
    """
    turn = _beside(folder, "turn")
    # It stays where somebody has waited once.
    if not turn.exists() and (held := try_lock(folder)) is not None:
        return held
    with ExitStack() as stack:
        # Without a turn the wait is as safe, only less fair.
        with suppress(LockTimeoutError, NoLocksError, OSError):
            stack.enter_context(locked(turn, what, seconds=_WAIT_SECONDS))
        return lock_first([folder], what, seconds=_WAIT_SECONDS)


def _beside(folder: Path, ending: str) -> Path:
    """Return the path of a file that stands for a folder in the temporary one."""
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    # Each user has a file of their own: a sticky folder denies access to another user's.
    return Path(tempfile.gettempdir()) / f"gpu-profile-{os.getuid()}-{name}.{ending}"


def _remove_remains(target: Path) -> None:
    """Remove the files of killed writers: no other writer lives while this one holds the folder."""
    for path in target.parent.iterdir():
        if path.name.startswith(f".{target.name}.") and path.suffix == ".tmp":
            path.unlink(missing_ok=True)


def _take_over(old: Path, new: Path) -> None:
    """Give a new file the owner, permissions and attributes of the one that it will replace."""
    try:
        status = old.stat(follow_symlinks=False)
    except FileNotFoundError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        # mkstemp makes files that only their owner may read.
        new.chmod(0o666 & ~_umask())
        return
    # root may give a file away, others may choose among their own groups.
    for owner, group in ((status.st_uid, -1), (-1, status.st_gid)):
        with suppress(PermissionError):
            os.chown(new, owner, group)
    # Some file systems have no attributes, and some attributes are not for this user to set.
    with suppress(OSError):
        for name in os.listxattr(old):
            with suppress(OSError):
                os.setxattr(new, name, os.getxattr(old, name))
    # Last, because a change of owner takes bits away, and an access list may change the group's.
    new.chmod(stat.S_IMODE(status.st_mode))


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
