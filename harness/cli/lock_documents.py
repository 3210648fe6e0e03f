"""The JSON documents of the verbs that read and write lockfiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import TypedDict

from harness.cli.showing.memory import MemoryData
from harness.device_identity import DeviceIdentity
from harness.measurement import Profile
from harness.report.json_report import without_extra

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.lockfile.diff import Change, Difference


class ShowDocument(TypedDict):
    """The answer of `show`."""

    case: str
    profiles: list[Profile]
    """One for each device on which the case is locked."""
    field: str | None
    """The name that `--field` asks for."""
    value: Any
    """Its value, as the lockfile has it."""
    memory: list[MemoryData] | None
    """Where the memory goes on each device, if `--memory` asks for it."""


class ChangeData(TypedDict):
    """A value in which two profiles differ."""

    name: str
    """Dotted below a table: `workload.num_parameters`."""
    old: Any
    """null where only the new profile has the value."""
    new: Any
    """null where only the old profile has the value."""
    relative: float | None
    """The change as a share of the old value: 0.02 is 2% more. null of what is no number."""


class DifferenceData(TypedDict):
    """A profile that only one of two lockfiles has, or whose values differ."""

    case: str
    device: DeviceIdentity
    kind: Literal["added", "removed", "changed"]
    changes: list[ChangeData]
    profile: Profile
    """The new one, or the old one if it is removed."""


class DiffDocument(TypedDict):
    """The answer of `diff`."""

    old: str
    new: str
    differences: list[DifferenceData]
    other_changes: list[ChangeData]
    """Changes of keys that this version does not know."""


class PrunedProfile(TypedDict):
    """A profile whose case is not in the matrix."""

    case: str
    device: DeviceIdentity


class PruneDocument(TypedDict):
    """The answer of `prune`."""

    lock: str
    dry_run: bool
    """Whether the lockfile is as it was."""
    removed: list[PrunedProfile]


class MergeDocument(TypedDict):
    """The answer of `merge`: what it has changed in the lockfile."""

    lock: str
    differences: list[DifferenceData]
    other_changes: list[ChangeData]
    """Changes of keys that this version does not know."""


def difference_data(difference: Difference) -> DifferenceData:
    """Return a difference as JSON documents have it."""
    return {
        "case": difference.case_id,
        "device": difference.device,
        "kind": difference.kind,
        "changes": changes_data(difference.changes),
        "profile": without_extra(difference.profile),
    }


def changes_data(changes: Iterable[Change]) -> list[ChangeData]:
    """Return changes as JSON documents have them."""
    return [
        {"name": one.name, "old": one.old, "new": one.new, "relative": one.relative}
        for one in changes
    ]
