"""Merges lockfiles: joins the results of several runs that began with the same lock.

This is a three-way merge. If one lock has changed a profile since the common base, the change is
taken. If two locks have changed a profile to different values, that is a conflict. A run's
`candidate.lock` holds the whole lock. The `report.json` beside it names the profiles that the run
measured; the others do not count as changes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.lockfile.diff import diff
from harness.lockfile.measured import measured_beside
from harness.lockfile.profiles import Lock, LockedProfile, read_lock, sort
from harness.lockfile.render import block
from harness.lockfile.toml_text import LockError
from harness.lockfile.write import rewrite_lock, with_profiles
from harness.visible import cut
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_SHOWN = 3
# Begins the names of the files that git hands to a merge driver.
_GITS_FILE = ".merge_file_"


def merge_into(
    path: str | Path, candidates: Sequence[Path], base: Path | None = None
) -> tuple[Lock, Lock]:
    """Merge candidates into the lockfile; return the lock before and after.

    `base` is the lock that the candidates were made from: by default the lockfile as it is. Raises
    LockError, and writes nothing, for conflicts and for files that cannot be used.
    """
    origin = None if base is None else _read_base(base)

    def change(ours: Lock) -> Lock:
        start = ours if origin is None else origin
        theirs = [
            _read_candidate(candidate, start, strict=origin is None) for candidate in candidates
        ]
        return merge(start, ours, theirs)

    return rewrite_lock(path, change)


def merge(base: Lock, ours: Lock, theirs: Iterable[Lock]) -> Lock:
    """Return `base` with the changes of `ours` and of all `theirs`, removals included.

    Raises LockError with every conflict.
    """
    sides = (_named(ours, "ours"), *(_named(lock, "theirs") for lock in theirs))
    conflicts: list[str] = []
    profiles: list[LockedProfile] = []
    for some in with_profiles(base, [profile for side in sides for profile in side]):
        before = base.partner(some)
        changed = _changed(before, [(side, side.partner(some)) for side in sides])
        if len(changed) > 1:
            conflicts.append(f"{some.case_id} on {some.device.name}: {_disagreement(changed)}")
        taken = changed[0][1] if changed else before
        if taken is not None:
            profiles.append(taken)
    extra: dict[str, Any] = {}
    for key in dict.fromkeys(key for lock in (base, *sides) for key in lock.extra):
        changed = _changed(base.extra.get(key), [(side, side.extra.get(key)) for side in sides])
        if len(changed) > 1:
            conflicts.append(f"{cut(key)}: {_sides(changed)} differ")
        value = changed[0][1] if changed else base.extra.get(key)
        if value is not None:
            extra[key] = value
    if conflicts:
        remedy = (
            "nothing is merged: take the lockfile of one side (git checkout --ours, or --theirs), "
            "and lock these cases again"
            if ours.path.name.startswith(_GITS_FILE)
            else "nothing is merged: lock these cases again, or merge without the lockfile whose "
            "values you do not want"
        )
        raise LockError("\n".join([*conflicts, remedy]))
    return Lock(ours.path, sort(profiles), exists=True, extra=extra)


def _named(lock: Lock, side: str) -> Lock:
    """Return a lock under the name that git's users know, in place of that of git's own file."""
    return replace(lock, path=Path(side)) if lock.path.name.startswith(_GITS_FILE) else lock


def _changed(before: Any, now: Iterable[tuple[Lock, Any]]) -> list[tuple[Lock, Any]]:
    """Return each value that differs from `before`, with the first lock that has it."""
    found: dict[str, tuple[Lock, Any]] = {}
    for lock, value in now:
        if _spelt(value) != _spelt(before):
            found.setdefault(_spelt(value), (lock, value))
    return list(found.values())


def _spelt(value: Any) -> str:
    """Return the text of a value as the file holds it: nan equals nan, and floats are rounded."""
    return repr(block(value) if isinstance(value, LockedProfile) else value)


def _sides(changed: Sequence[tuple[Lock, Any]]) -> str:
    return " and ".join(shown_path(lock.path) for lock, _ in changed)


def _disagreement(changed: Sequence[tuple[Lock, LockedProfile | None]]) -> str:
    """Return the values in which the first two locks that changed a profile disagree."""
    (one, old), (other, new) = changed[:2]
    if old is None or new is None:
        kept, removed = (one, other) if new is None else (other, one)
        return f"{shown_path(removed.path)} removes it, {shown_path(kept.path)} changes it"
    (difference,) = diff(Lock(one.path, (old,)), Lock(other.path, (new,)))
    values = [
        f"{cut(change.name)} {cut(str(change.old))} and {cut(str(change.new))}"
        for change in difference.changes[:_MAX_SHOWN]
    ]
    more = (
        f" and {len(difference.changes) - _MAX_SHOWN} more"
        if len(difference.changes) > _MAX_SHOWN
        else ""
    )
    return f"{_sides(changed[:2])} have {', '.join(values)}{more}"


def _read_base(path: Path) -> Lock:
    if path.is_file() and not path.stat().st_size:
        return Lock(path)  # git passes an empty base when two branches have added the file
    return _read_existing(path)


def _read_candidate(path: Path, base: Lock, *, strict: bool) -> Lock:
    """Read a lock that was made from `base`.

    A run's candidate differs from `base` only in the profiles that the run measured. `strict`
    refuses a lock that lacks a profile of `base`: no run removes one, so the lock was made from
    another base.
    """
    lock = _read_existing(path)
    measured = measured_beside(path)
    if measured is not None:
        profiles = [profile for profile in lock if measured.holds(profile)]
        return Lock(path, with_profiles(base, profiles).profiles, exists=True, extra=base.extra)
    for profile in base if strict else ():
        if lock.partner(profile) is None:
            raise LockError(
                f"{shown_path(path)} was not made from {shown_path(base.path)}: it has no "
                f"{profile.case_id} on {profile.device.name}; name with --base the lockfile that "
                "it was made from"
            )
    return lock


def _read_existing(path: Path) -> Lock:
    lock = read_lock(path)
    if not lock.exists:
        raise LockError(f"{shown_path(path)} does not exist")
    return lock
