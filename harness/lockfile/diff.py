"""Compares two lockfiles, profile by profile and value by value. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.case_names import label
from harness.lockfile.render import block

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.measurement import DeviceIdentity

    Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A value in which two profiles differ."""

    name: str
    """Dotted: `batch_size`, `workload.num_parameters`."""
    old: Any
    """None if only the new profile has the value."""
    new: Any
    """None if only the old profile has the value."""

    @property
    def relative(self) -> float | None:
        """The change as a share of the old value: 0.02 is 2% more.

        None unless both values are finite numbers and the old one is not 0.
        """
        numbers = [
            value
            for value in (self.old, self.new)
            if isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
        ]
        if len(numbers) < 2 or not numbers[0]:  # noqa: PLR2004 - both of them
            return None
        return float(numbers[1] / numbers[0] - 1)

    def __str__(self) -> str:
        share = "" if self.relative is None else f" ({self.relative:+.1%})"
        old, new = ("none" if value is None else value for value in (self.old, self.new))
        return f"{self.name} {old} -> {new}{share}"


@dataclass(frozen=True, slots=True)
class Difference:
    """A profile that only one of the locks has, or whose values differ."""

    profile: LockedProfile
    """The new profile, or the old one if it is removed."""
    kind: Literal["added", "removed", "changed"]
    changes: tuple[Change, ...] = ()
    """The changed values of a profile, in the order of the file."""

    @property
    def case_id(self) -> str:
        """The id of the profile's case."""
        return self.profile.case_id

    @property
    def device(self) -> DeviceIdentity:
        """The device of the profile."""
        return self.profile.device

    def __str__(self) -> str:
        what = ", ".join(map(str, self.changes)) or self.kind
        return f"{self.case_id} on {self.device.name}: {what}"


def diff(old: Lock, new: Lock) -> list[Difference]:
    """Return the differences between two locks, in the order and with the digits of the file."""
    found = []
    for before in old:
        after = new.partner(before)
        if after is None:
            found.append(Difference(before, "removed"))
        elif changed := changes(before, after):
            found.append(Difference(after, "changed", changed))
    found += [Difference(after, "added") for after in new if old.partner(after) is None]
    return sorted(
        found, key=lambda difference: (difference.case_id, difference.device.name, difference.kind)
    )


def changes(before: LockedProfile, after: LockedProfile) -> tuple[Change, ...]:
    """Return the values in which two profiles differ, in the order of the file."""
    if before is after:
        return ()
    return tuple(_changes(_flat(block(before)), _flat(block(after))))


def changes_of_other_keys(old: Lock, new: Lock) -> tuple[Change, ...]:
    """Return the differences between keys at the top of two locks that this version does not know.

    A lock of a newer version may have them, and any file may.
    """
    return tuple(_changes(_flat(old.extra), _flat(new.extra)))


def _changes(old: Mapping[Path, Any], new: Mapping[Path, Any]) -> Iterator[Change]:
    for path in dict.fromkeys((*old, *new)):
        # Compared as text: there nan equals nan, and true differs from 1.
        if repr(old.get(path)) != repr(new.get(path)):
            yield Change(_name(path), old.get(path), new.get(path))


def _name(path: Path) -> str:
    outer, *inner = path
    return ".".join([f'"{outer}"' if "." in outer else outer, *inner])


def _flat(table: Mapping[str, Any]) -> dict[Path, Any]:
    """Return the values of a table and its sub-tables by their paths.

    As texts, an unknown key such as `"workload.module"` would hide the one in the table `workload`.
    """
    flat: dict[Path, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= {(key, name): item for name, item in value.items()}
        elif _are_buckets(key, value):
            flat |= {
                (key, label(bucket["edge"]), name): item
                for bucket in value
                for name, item in bucket.items()
                if name != "edge"
            }
        else:
            flat[key,] = value
    return flat


def _are_buckets(key: str, value: Any) -> bool:
    """Return whether a value is the list of a profile's buckets; a lock may hold anything else."""
    return (
        key == "buckets"
        and isinstance(value, list)
        and all(
            isinstance(one, dict) and isinstance(one.get("edge"), (int, float)) for one in value
        )
    )
