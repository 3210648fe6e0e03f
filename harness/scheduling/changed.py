"""Finds the cases that have changed since a lock, without a device: it builds them on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.check.locked_cases import LockedCases, describes
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.matrix.case import Case
    from harness.probes.open_cases import Surroundings


class Changes:
    """Compares cases with a lock.

    then: the lock that they are compared with.
    now: today's lock, whose profiles must be those of `then` as well: a value that somebody has
        edited is to be measured.
    surroundings: as in `LockedCases`.
    """

    def __init__(self, then: Lock, now: Lock, surroundings: Callable[[], Surroundings]) -> None:
        self._then, self._now = then, now
        self._cases = LockedCases(then, surroundings)

    def since(self, case: Case) -> str | None:
        """Return what has changed, in words; None where nothing has.

        A workload that cannot be built has changed: its test says how.
        """
        before = self._cases.profiles(case)
        if not before:
            return "never locked"
        if before != _profiles(self._now, case):
            return "its locked profile has changed"
        try:
            stale = self._cases.stale(case)
        except HarnessError as error:
            return f"its workload cannot be built: {error}".partition("\n")[0]
        return stale[0].message if stale else None


def _profiles(lock: Lock, case: Case) -> list[LockedProfile]:
    return [one for one in lock.of_case(case.id) if describes(one, case)]
