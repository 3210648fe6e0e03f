"""Tells where each case of a run can be measured, and which waiting case may start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.devices.cuda import CudaDevice
from harness.devices.cuda_group import CudaGroup
from harness.devices.gpu_locks import is_held
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from harness.devices.device import Device
    from harness.matrix.case import Case


# Of sums of shares.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Place:
    """Where one case can run."""

    gpus: frozenset[str] = frozenset()
    """The UUIDs of the GPUs, of which it takes some; none for a case that needs no GPU."""
    share: float = 1.0
    """The number of GPUs that it takes; less than 1 for one that claims a part of its memory."""


def place_of(case: Case, device_of: Callable[[Case], Device | None]) -> Place:
    """Return where a case can run; nowhere in particular if its device is missing or in trouble.

    Such a case ends at once, and its test says why.
    """
    try:
        device = device_of(case)
    except HarnessError:
        return Place()
    if not isinstance(device, (CudaDevice, CudaGroup)):
        return Place()
    return Place(frozenset(gpu.uuid for gpu in device.gpus), device.share)


class Places:
    """The places of a run's cases, by case id.

    held: tells whether any run holds a GPU now.
    """

    def __init__(self, places: dict[str, Place], held: Callable[[str], bool] = is_held) -> None:
        self._places = places
        self._held = held
        # A test that is no case of the matrix has a place of its own.
        self._num_places = len({Place(), *places.values()})

    def next_of(self, waiting: Iterable[str], running: Collection[str]) -> int | None:
        """Return which of the cases should start now; None if each of them would only wait.

        The first one counts whose GPU is free. If other runs hold the GPUs that this run has left
        over, the first of these cases is started to wait for them: it says so, and has a limit.

        waiting: the ids of cases, the most urgent first; no more of them are read than needed.
        running: those that run now.
        """
        first = with_room = None
        # Thousands of cases wait for a few places: all cases of a place get one answer.
        judged: set[Place] = set()
        for number, one in enumerate(waiting):
            first = 0
            place = self._of(one)
            if place in judged:
                continue
            judged.add(place)
            if self._has_room(one, running):
                if self._is_free(one, running):
                    return number
                with_room = number if with_room is None else with_room
            if len(judged) == self._num_places:
                break
        if with_room is not None:
            return with_room
        # By its own account a run never waits for ever.
        return None if running else first

    @property
    def num_gpus(self) -> int:
        """The number of GPUs that cases can run on."""
        return len(frozenset().union(*(place.gpus for place in self._places.values())))

    def most_at_once(self) -> int:
        """Return how many cases on GPUs can run at the same time."""
        running: list[str] = []
        smallest_first = sorted(
            (one for one in self._places if self._places[one].gpus),
            key=lambda one: self._places[one].share,
        )
        for one in smallest_first:
            if self._has_room(one, running):
                running.append(one)
        return len(running)

    def _has_room(self, one: str, running: Iterable[str]) -> bool:
        """Return whether this run's own cases leave a place.

        Which GPU of several a case has taken is not known here, so each case counts for all GPUs
        that it may have taken. That is exact unless labels name overlapping sets of GPUs.
        """
        place = self._of(one)
        if not place.gpus:
            return True
        taken = sum(self._of(other).share for other in running if self._of(other).gpus & place.gpus)
        return taken + place.share <= len(place.gpus) + _ROUNDING

    def _is_free(self, one: str, running: Iterable[str]) -> bool:
        place = self._of(one)
        if not place.gpus or place.share < 1:
            return True
        # A case that shares takes its GPU from those that do not.
        ours = sum(
            max(1.0, self._of(other).share)
            for other in running
            if self._of(other).gpus & place.gpus
        )
        held = sum(map(self._held, place.gpus))
        return max(ours, held) + place.share <= len(place.gpus)

    def _of(self, one: str) -> Place:
        return self._places.get(one, Place())
