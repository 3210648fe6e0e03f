"""Reads from git how the locked values of each case have changed, for its charts over commits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import HarnessError
from harness.lock_history import read_history
from harness.visible import cut

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.lock_history import Revision
    from harness.lockfile.profiles import LockedProfile

# Many more are no longer told apart in a chart, and each costs a few milliseconds to read.
_MAX_REVISIONS = 200
_SHOWN_HASH = 8
_NOT_COMMITTED = "not committed"


class Change(NamedTuple):
    """What a commit has locked of a case."""

    commit: str
    date: str
    """Of the day, as `2026-11-29`; empty where it is not committed."""
    subject: str
    max_batch_size: int | None
    """None where the commit has removed the profile."""
    learning_rate: float | None


@dataclass(frozen=True, slots=True)
class Locks:
    """The changes of each case on each device, the oldest first; or why they are not known."""

    changes: Mapping[tuple[str, str], tuple[Change, ...]] = field(default_factory=dict)
    """By case id and the device's name."""
    reason: str | None = None


def lock_history_of(lock: Path) -> Locks:
    """Return how the values of a lockfile have changed; where git cannot say, the reason."""
    try:
        history = read_history(lock, _MAX_REVISIONS)
    except HarnessError as error:
        return Locks(reason=str(error))
    found: dict[tuple[str, str], list[Change]] = {}
    for revision in reversed(history.revisions):
        if revision.problem is not None:
            continue
        profiles = {
            (case_id, profile.device.name): profile
            for case_id, several in revision.profiles.items()
            for profile in several
        }
        for key in [*dict.fromkeys([*found, *profiles])]:
            change = _change(revision, profiles.get(key))
            before = found.setdefault(key, [])
            if not before or before[-1][3:] != change[3:]:
                before.append(change)
    return Locks({key: tuple(changes) for key, changes in found.items()})


def _change(revision: Revision, profile: LockedProfile | None) -> Change:
    return Change(
        (revision.commit or _NOT_COMMITTED)[: _SHOWN_HASH if revision.commit else None],
        revision.date.date().isoformat() if revision.date else "",
        cut(revision.subject),
        None if profile is None else profile.max_batch_size,
        None if profile is None else profile.learning_rate,
    )
