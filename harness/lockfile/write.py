"""Writes the lockfile: one process at a time, in one piece, and only the given profiles."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import files
from harness.breakdown.shares import predicted_holders
from harness.errors import HarnessError
from harness.lockfile.index import Index
from harness.lockfile.profiles import Lock, parse_lock, read_lock, sort
from harness.lockfile.render import render
from harness.lockfile.toml_limits import MAX_BYTES
from harness.lockfile.toml_text import LockError, LockText
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from harness.lockfile.profiles import LockedProfile


_READ_BACK: set[bytes] = set()
"""Digests of texts that could be read back: an update often writes the text of the candidate."""


def update_lock(path: str | Path, profiles: Iterable[LockedProfile]) -> None:
    """Put profiles into the lockfile, in place of those of the same case and device.

    All other profiles stay. The file is read again under a file lock, so concurrent runs lose
    nothing. Raises LockError, and leaves the file as it is, when the file is damaged or cannot be
    written.
    """
    rewrite_lock(path, lambda lock: with_profiles(lock, profiles))


def rewrite_lock(path: str | Path, change: Callable[[Lock], Lock]) -> tuple[Lock, Lock]:
    """Replace the lock by the result of `change`; return the lock before and after.

    Raises LockError as `update_lock` does.
    """
    with _writing(path) as target:
        before = read_lock(target)
        after = change(before)
        _write(target, after)
    return before, after


def write_candidate(
    path: str | Path, lock_path: str | Path, profiles: Iterable[LockedProfile]
) -> None:
    """Write to `path` the lock that an update of `lock_path` with the profiles would give.

    A link in the place of `path` is replaced.
    """
    lock = with_profiles(read_lock(lock_path), profiles)
    with _writing(path, follow=False) as target:
        _write(target, lock)


def prune(path: str | Path, keep_ids: Collection[str]) -> tuple[LockedProfile, ...]:
    """Remove the profiles of all cases except `keep_ids`; return the removed ones.

    Raises LockError as `update_lock` does.
    """
    with _writing(path) as target:
        lock = read_lock(target)
        kept = tuple(profile for profile in lock if profile.case_id in keep_ids)
        removed = tuple(profile for profile in lock if profile.case_id not in keep_ids)
        if removed:
            _write(target, Lock(lock.path, kept, lock.exists, lock.extra))
    return removed


def refuse_read_only(path: str | Path) -> None:
    """Raise LockError, with a remedy, when the lockfile cannot be written."""
    with _as_lock_error():
        files.refuse_read_only(Path(path))


def with_profiles(lock: Lock, profiles: Iterable[LockedProfile]) -> Lock:
    """Return the lock with profiles in place of those of the same case and device.

    If several are of the same case and device, the last one wins. A prediction does not replace a
    measured profile of the same workload and recipe, but is added to it.
    """
    merged: Index[LockedProfile] = Index()
    for profile in (*lock, *profiles):
        same = merged.take(profile.axes, profile.device)
        merged.add(_in_place_of(same[0], profile) if same else profile)
    return Lock(lock.path, sort(merged), exists=True, extra=lock.extra)


def _in_place_of(old: LockedProfile, new: LockedProfile) -> LockedProfile:
    if new.source == "measured" or old.source == "predicted":
        return new
    if (old.fingerprint, old.recipe) != (new.fingerprint, new.recipe):
        return new  # the measured values are of another workload or recipe
    return replace(
        old,
        predicted_batch_size=new.predicted_batch_size,
        predicted_with=new.predicted_with,
        predicted_peak=predicted_holders(new),
        predicted_step=new.predicted_step,
    )


@contextmanager
def _writing(path: str | Path, *, follow: bool = True) -> Iterator[Path]:
    with _as_lock_error(), files.writing(Path(path), follow=follow) as target:
        yield target


@contextmanager
def _as_lock_error() -> Iterator[None]:
    try:
        yield
    except LockError:
        raise
    except HarnessError as error:
        raise LockError(str(error)) from error


def _write(target: Path, lock: Lock) -> None:
    """Render the lock and replace the file, unless a reader would refuse the text.

    Otherwise one bad value would make the whole file unreadable.
    """
    text = render(lock)
    data = text.encode()
    if len(data) > MAX_BYTES:
        raise LockError(
            f"{shown_path(target)}: not written: {len(lock)} profiles are more than the"
            f" {MAX_BYTES // 2**20} MiB that a lockfile may have: divide the matrix into several,"
            " each with a lockfile of its own"
        )
    digest = hashlib.sha256(data).digest()
    if digest not in _READ_BACK:
        try:
            parse_lock(LockText(target, text))
        except LockError as error:
            raise LockError(f"not written, because it could not be read back: {error}") from error
        _READ_BACK.add(digest)
    files.put_text(target, text)
