"""Merging lockfiles: what several runs measured, each beginning with the same lock, into one.

A merge has three ways: a profile that one lock has changed since their common base is taken from that lock, one
that two have changed to different values is a conflict. A run's `candidate.lock` holds the whole lock; which of
its profiles the run measured is in the `report.json` beside it, so that the others are not taken for changes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.lock_diff import diff, partner
from harness.lock_form import block
from harness.lock_text import shown_path
from harness.lock_writing import rewrite_lock, with_profiles
from harness.lockfile import Lock, LockedProfile, LockError, read_lock, same_device, sort
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_CANDIDATE = "candidate.lock"
_REPORT = "report.json"
_MAX_SHOWN = 3


def merge_into(path: str | Path, candidates: Sequence[Path], base: Path | None = None) -> tuple[Lock, Lock]:
    """Merge candidates into the lockfile; returns the lock before and after.

    `base` is the lock that the candidates were made from: by default the lockfile as it is. Raises LockError,
    with nothing written, for conflicts and for files that cannot be used.
    """
    origin = None if base is None else _read_base(base)

    def change(ours: Lock) -> Lock:
        start = ours if origin is None else origin
        theirs = [_read_candidate(candidate, start, strict=origin is None) for candidate in candidates]
        return merge(start, ours, theirs)

    return rewrite_lock(path, change)


def merge(base: Lock, ours: Lock, theirs: Iterable[Lock]) -> Lock:
    """Return what `ours` and all of `theirs` made of `base`; what one of them removed is removed.

    Raises LockError with every conflict.
    """
    sides = (ours, *theirs)
    conflicts: list[str] = []
    profiles: list[LockedProfile] = []
    for some in with_profiles(base, [profile for side in sides for profile in side]):
        before = partner(some, base)
        changed = _changed(before, [(side, partner(some, side)) for side in sides])
        if len(changed) > 1:
            conflicts.append(f"{some.case_id} on {some.device.name}: {_disagreement(changed)}")
        taken = changed[0][1] if changed else before
        if taken is not None:
            profiles.append(taken)
    extra: dict[str, Any] = {}
    for key in dict.fromkeys(key for lock in (base, *sides) for key in lock.extra):
        changed = _changed(base.extra.get(key), [(side, side.extra.get(key)) for side in sides])
        if len(changed) > 1:
            conflicts.append(f"{key}: {_sides(changed)} differ")
        value = changed[0][1] if changed else base.extra.get(key)
        if value is not None:
            extra[key] = value
    if conflicts:
        several = "\n".join([*conflicts, "nothing is merged: leave out the lockfile that is not to be taken"])
        raise LockError(several)
    return Lock(ours.path, sort(profiles), exists=True, extra=extra)


def _changed(before: Any, now: Iterable[tuple[Lock, Any]]) -> list[tuple[Lock, Any]]:
    """Return the different values that are not the one before, each with the first lock that has it."""
    found: dict[str, tuple[Lock, Any]] = {}
    for lock, value in now:
        if _spelt(value) != _spelt(before):
            found.setdefault(_spelt(value), (lock, value))
    return list(found.values())


def _spelt(value: Any) -> str:
    """Return a profile or another value as the file holds it: there nan is nan, and digits are few."""
    return repr(block(value) if isinstance(value, LockedProfile) else value)


def _sides(changed: Sequence[tuple[Lock, Any]]) -> str:
    return " and ".join(shown_path(lock.path) for lock, _ in changed)


def _disagreement(changed: Sequence[tuple[Lock, LockedProfile | None]]) -> str:
    """Say in which values the first two locks that changed a profile disagree."""
    (one, old), (other, new) = changed[:2]
    if old is None or new is None:
        kept, removed = (one, other) if new is None else (other, one)
        return f"{shown_path(removed.path)} removes it, {shown_path(kept.path)} changes it"
    (difference,) = diff(Lock(one.path, (old,)), Lock(other.path, (new,)))
    values = [f"{change.name} {change.old} and {change.new}" for change in difference.changes[:_MAX_SHOWN]]
    more = f" and {len(difference.changes) - _MAX_SHOWN} more" if len(difference.changes) > _MAX_SHOWN else ""
    return f"{_sides(changed[:2])} have {', '.join(values)}{more}"


def _read_base(path: Path) -> Lock:
    if path.is_file() and not path.stat().st_size:
        return Lock(path)  # git's way to say that two branches have added the file
    return _read_existing(path)


def _read_candidate(path: Path, base: Lock, *, strict: bool) -> Lock:
    """Read a lock that was made from `base`; of a run's candidate only what the run measured differs from it.

    `strict` refuses a lock that lacks a profile of the base: no run removes one, so that it began with another.
    """
    lock = _read_existing(path)
    measured = _measured(path)
    if measured is not None:
        profiles = [profile for profile in lock if _is_among(profile, measured)]
        return Lock(path, with_profiles(base, profiles).profiles, exists=True, extra=base.extra)
    for profile in base if strict else ():
        if partner(profile, lock) is None:
            raise LockError(
                f"{shown_path(path)} was not made from {shown_path(base.path)}: it has no {profile.case_id} on "
                f"{profile.device.name}; name the lockfile that it was made from with --base"
            )
    return lock


def _measured(candidate: Path) -> list[tuple[str, DeviceIdentity]] | None:
    """Return the cases and devices that a candidate's run measured, or None where there is no report of a run."""
    report = candidate.with_name(_REPORT)
    if candidate.name != _CANDIDATE or not report.exists():
        return None
    try:
        cases = json.loads(report.read_bytes())["cases"]
        return [(case["id"], DeviceIdentity(**case["device"])) for case in cases if case["device"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LockError(
            f"{shown_path(report)}: cannot be read as the report of a run ({type(error).__name__}: {error}); it says "
            f"what of {_CANDIDATE} was measured"
        ) from error


def _is_among(profile: LockedProfile, measured: Iterable[tuple[str, DeviceIdentity]]) -> bool:
    return any(profile.case_id == case and same_device(profile.device, device) for case, device in measured)


def _read_existing(path: Path) -> Lock:
    lock = read_lock(path)
    if not lock.exists:
        raise LockError(f"{shown_path(path)} does not exist")
    return lock
