"""Sorts the cases of a run: by how long they take, or by how much a measurement tells."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.matrix.case import Case

_CHANGED, _NEVER_LOCKED, _KNOWN = range(3)

# Workloads are built to see whether they have changed. That may take this share of the time.
_COMPARING_SHARE = 0.1


def longest_first(cases: Sequence[Case], seconds: Callable[[Case], float | None]) -> list[Case]:
    """Return cases by their estimates, so that no long one is left for the end of the run.

    seconds: the estimate of a case; None for one that begins its search from nothing, so first.
    """
    known = {case.id: seconds(case) for case in cases}
    return sorted(cases, key=lambda case: _or_most(known[case.id]), reverse=True)


def most_telling_first(
    cases: Sequence[Case],
    *,
    is_locked: Callable[[Case], bool],
    has_changed: Callable[[Case], bool],
    verified: Mapping[str, float],
    budget_seconds: float,
) -> list[Case]:
    """Return cases as a run with a time budget takes them.

    Those that have changed since they were locked come first, then those that were never locked,
    then all others by how long ago they were verified. Among equals chance decides, so that over
    many runs each has its turn.

    has_changed: builds a workload; asked for a tenth of the budget at most.
    verified: when each case was verified, in seconds; one that is absent was never.
    """
    until = time.monotonic() + _COMPARING_SHARE * budget_seconds
    keys = {}
    for case in cases:
        if not is_locked(case):
            kind = _NEVER_LOCKED
        elif time.monotonic() < until and has_changed(case):
            kind = _CHANGED
        else:
            kind = _KNOWN
        when = verified.get(case.id, 0.0) if kind == _KNOWN else 0.0
        keys[case.id] = (kind, when, random.random())  # noqa: S311 - no secret
    return sorted(cases, key=lambda case: keys[case.id])


def _or_most(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds
