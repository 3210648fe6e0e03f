"""Finds profiles by their axes and their device, in a time that does not grow with their number."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Generic, TypeVar

from harness.measurement import Profile

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from harness.case_names import Scalar
    from harness.measurement import DeviceIdentity

_P = TypeVar("_P", bound=Profile)


class Index(Generic[_P]):
    """Profiles, no two of which are of the same axes and of devices that match."""

    def __init__(self, profiles: Iterable[_P] = ()) -> None:
        # Profiles of the same axes and device name, by memory. Devices match within 1% of memory.
        self._alike: dict[Hashable, list[_P]] = {}
        for profile in profiles:
            self.add(profile)

    def __iter__(self) -> Iterator[_P]:
        return (profile for group in self._alike.values() for profile in group)

    def matching(self, axes: Mapping[str, Scalar], device: DeviceIdentity) -> list[_P]:
        """Return the profiles of these axes whose device matches: at most two, by memory."""
        group, places = self._find(axes, device)
        return [group[at] for at in places]

    def take(self, axes: Mapping[str, Scalar], device: DeviceIdentity) -> list[_P]:
        """Remove the profiles that `matching` finds, and return them."""
        group, places = self._find(axes, device)
        return [group.pop(at) for at in reversed(places)][::-1]

    def add(self, profile: _P) -> None:
        """Add a profile; `take` those that match before."""
        group = self._alike.setdefault(_key(profile.axes, profile.device), [])
        insort(group, profile, key=_memory)

    def _find(
        self, axes: Mapping[str, Scalar], device: DeviceIdentity
    ) -> tuple[list[_P], list[int]]:
        group = self._alike.get(_key(axes, device), [])
        at = bisect_left(group, device.memory_bytes, key=_memory)
        # Others are further away. If one of them matched, it would match the one in between.
        near = range(max(at - 1, 0), min(at + 1, len(group)))
        return group, [place for place in near if group[place].device.matches(device)]


def _key(axes: Mapping[str, Scalar], device: DeviceIdentity) -> Hashable:
    # The order of the axes makes no difference.
    return frozenset(axes.items()), device.name


def _memory(profile: Profile) -> int:
    return profile.device.memory_bytes
