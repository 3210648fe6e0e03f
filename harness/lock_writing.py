"""Writing the lockfile: one process at a time, atomically, and only what was measured."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.lock_diff import diff
from harness.lock_form import block, render
from harness.lock_text import LockText, shown_path
from harness.lockfile import Lock, LockedProfile, LockError, parse_lock, read_lock, same_profile, sort

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

__all__ = [
    "block",
    "diff",
    "prune",
    "refuse_read_only",
    "render",
    "rewrite_lock",
    "update_lock",
    "with_profiles",
    "write_candidate",
    "write_whole",
]

_WAIT_SECONDS = 60
_POLL_SECONDS = 0.05


def update_lock(path: str | Path, profiles: Iterable[LockedProfile]) -> None:
    """Put profiles into the lockfile in place of those of the same case and device; all others stay.

    The file is read again under a file lock, so that runs side by side lose nothing. Raises LockError when
    the file cannot be written, and when it is damaged: then it stays as it is.
    """
    rewrite_lock(path, lambda lock: with_profiles(lock, profiles))


def rewrite_lock(path: str | Path, change: Callable[[Lock], Lock]) -> tuple[Lock, Lock]:
    """Put what `change` makes of the lock in its place; returns the lock before and after. Raises as `update_lock`."""
    with _writing(Path(path)) as target:
        before = read_lock(target)
        after = change(before)
        _write(target, after)
    return before, after


def write_candidate(path: str | Path, lock_path: str | Path, profiles: Iterable[LockedProfile]) -> None:
    """Write what the lockfile at `lock_path` would be after an update to another `path`."""
    lock = with_profiles(read_lock(lock_path), profiles)
    with _writing(Path(path)) as target:
        _write(target, lock)


def prune(path: str | Path, keep_ids: Collection[str]) -> tuple[LockedProfile, ...]:
    """Remove the profiles of all cases but `keep_ids`; returns what was removed. Raises as `update_lock`."""
    with _writing(Path(path)) as target:
        lock = read_lock(target)
        kept = tuple(profile for profile in lock if profile.case_id in keep_ids)
        removed = tuple(profile for profile in lock if profile.case_id not in keep_ids)
        if removed:
            _write(target, Lock(lock.path, kept, lock.exists, lock.extra))
    return removed


def write_whole(path: str | Path, text: str) -> None:
    """Write any file under a file lock, such that readers and crashes never see a part of it."""
    with _writing(Path(path)) as target:
        _replace(target, text)


def refuse_read_only(path: str | Path) -> None:
    """Raise LockError, with what to do, when a file could not be written."""
    target = Path(os.path.realpath(path))
    folder = target.parent
    if not folder.is_dir():
        raise LockError(f"{shown_path(target)}: cannot be written: there is no folder {folder}; create it")
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise LockError(f"{shown_path(target)}: cannot be written: the folder {folder} is read-only")
    if target.exists() and not target.stat().st_mode & 0o222:
        # Replacing would succeed, but whoever took the write bits off did so on purpose.
        raise LockError(
            f"{shown_path(target)}: cannot be written: the file is read-only (chmod u+w to allow it)"
        )


def with_profiles(lock: Lock, profiles: Iterable[LockedProfile]) -> Lock:
    """Return the lock with profiles in place of those of the same case and device; of equals the last stays.

    What was measured stays beside a newer prediction of the same workload and recipe.
    """
    by_case: dict[str, list[LockedProfile]] = {}
    for profile in (*lock, *profiles):
        known = by_case.get(profile.case_id, [])
        others = [old for old in known if not same_profile(old, profile)]
        same = next((old for old in known if old not in others), None)
        by_case[profile.case_id] = [*others, profile if same is None else _in_place_of(same, profile)]
    merged = (profile for group in by_case.values() for profile in group)
    return Lock(lock.path, sort(merged), exists=True, extra=lock.extra)


def _in_place_of(old: LockedProfile, new: LockedProfile) -> LockedProfile:
    if new.source == "measured" or old.source == "predicted":
        return new
    if (old.fingerprint, old.recipe) != (new.fingerprint, new.recipe):
        return new  # what was measured is of another workload
    return replace(
        old,
        predicted_batch_size=new.predicted_batch_size,
        predicted_with=new.predicted_with,
        predicted_peak=new.predicted_peak,
    )


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """Hold off other writers while a file is read, changed and written; yields the file behind links."""
    target = Path(os.path.realpath(path))
    refuse_read_only(target)
    try:
        with _alone_in(target.parent):
            yield target
    except Timeout as error:
        raise LockError(
            f"{shown_path(path)}: another process has been writing it for {_WAIT_SECONDS} s, or a file beside it: "
            "wait for it or end it"
        ) from error
    except OSError as error:
        raise LockError(f"{shown_path(path)}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Be the only process that writes into a folder; raises Timeout.

    The folder itself is locked. A file beside the lockfile would show up in `git status`, and to remove it would
    break the exclusion of those who wait; one in the folder of temporary files excludes nobody who has another
    TMPDIR. It is better than nothing where folders have no locks, as on NFS.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not (supported := _lock(descriptor)):
            if supported is None:
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
    """Say whether a folder was free, and is locked now until it is closed; None where that is not possible."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _guard_of(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    # Another user's file in a sticky folder could not be opened: each user has an own one.
    return Path(tempfile.gettempdir()) / f"gpu-profile-{os.getuid()}-{name}.lock"


def _write(target: Path, lock: Lock) -> None:
    """Render and replace, unless the next reader would refuse the text: one bad value must not cost the file."""
    text = render(lock)
    try:
        parse_lock(LockText(target, text))
    except LockError as error:
        raise LockError(f"not written, as it could not be read again: {error}") from error
    _replace(target, text)


def _replace(target: Path, text: str) -> None:
    """Write a file such that it is the old or the new one at any time, also after a crash."""
    data = text.encode()
    mode = 0o666 & ~_umask()
    if target.exists():
        if target.read_bytes() == data:
            return
        mode = stat.S_IMODE(target.stat().st_mode)
    _remove_remains(target)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_remains(target: Path) -> None:
    """Remove what writers left that were killed: whoever holds the file lock is the only one alive."""
    for path in target.parent.iterdir():
        if path.name.startswith(f".{target.name}.") and path.suffix == ".tmp":
            path.unlink(missing_ok=True)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
