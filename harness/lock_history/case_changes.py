"""Finds the revisions that changed the profiles of one case. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.lockfile import diff as lock_diff
from harness.lockfile.diff import Difference
from harness.lockfile.profiles import Lock
from harness.wording import nearest, shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lock_history.revisions import LockHistory, Revision
    from harness.lockfile.profiles import LockedProfile


@dataclass(frozen=True, slots=True)
class CaseChange:
    """A revision that changed a case's profiles, and the changes, one for each device."""

    revision: Revision
    differences: tuple[Difference, ...]
    renamed_from: str | None = None
    """The id that the case had before; None if it was the same, or if there was none."""


@dataclass(frozen=True, slots=True)
class CaseHistory:
    """The changes of a case, the newest first."""

    changes: tuple[CaseChange, ...]
    unread: tuple[Revision, ...]
    """Revisions whose lockfile cannot be read: the next one shows what they changed."""


def case_history(history: LockHistory, case: str) -> CaseHistory:
    """Return the revisions that changed a case, across changes of its id.

    A case is the same under another id if a revision removes the one and adds the other, with the
    same workload, devices and largest batches.

    Raises HarnessError, with the nearest id, where no revision has the case.
    """
    readable = [one for one in history.revisions if one.problem is None]
    unread = tuple(one for one in history.revisions if one.problem is not None)
    if not any(case in one.profiles for one in readable):
        known = dict.fromkeys(chain.from_iterable(one.profiles for one in readable))
        raise HarnessError(
            f"no commit has locked {case} in {shown_path(history.path)}; "
            f"{nearest(case, known, 'cases of its history')}"
        )
    changes = []
    olders: Sequence[Revision | None] = [*readable[1:], None]
    for revision, older in zip(readable, olders, strict=True):
        now = revision.profiles.get(case, ())
        then = older.profiles.get(case, ()) if older is not None else ()
        before = _id_before(revision, older, case) if now and not then and older else None
        if before is not None:
            assert older is not None, "only an older revision has another id"
            changes.append(_renamed(revision, now, older.profiles[before], before))
            case = before
        elif differences := tuple(lock_diff.diff(_lock(history, then), _lock(history, now))):
            changes.append(CaseChange(revision, differences))
    return CaseHistory(tuple(changes), unread)


def _lock(history: LockHistory, profiles: tuple[LockedProfile, ...]) -> Lock:
    return Lock(history.path, profiles)


def _id_before(revision: Revision, older: Revision, case: str) -> str | None:
    """Return the id under which the older revision has the case; None if it has none, or several.

    Two cases may share a workload, so the values count as well.
    """
    same = _values(revision.profiles[case])
    found = [
        name
        for name, profiles in older.profiles.items()
        if name not in revision.profiles and _values(profiles) == same
    ]
    return found[0] if len(found) == 1 else None


def _values(profiles: tuple[LockedProfile, ...]) -> list[tuple[str, int, str, int]]:
    return sorted(
        (one.device.name, one.device.memory_bytes, one.fingerprint, one.max_batch_size)
        for one in profiles
    )


def _renamed(
    revision: Revision,
    now: tuple[LockedProfile, ...],
    then: tuple[LockedProfile, ...],
    before: str,
) -> CaseChange:
    older = {one.device: one for one in then}
    differences = (
        Difference(one, "changed", lock_diff.changes(older[one.device], one)) for one in now
    )
    return CaseChange(revision, tuple(differences), renamed_from=before)
