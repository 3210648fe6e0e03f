"""Runs the cases of a matrix on a fleet without pytest, to compare orders."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from harness import report
from harness.fleet.fleet import Fleet
from harness.fleet.job import Job
from harness.scheduling.order import longest_first

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lockfile.profiles import Lock
    from harness.matrix.case import Case
    from simulated_fleet.cluster import SimulatedCluster

_DAY = 86_400.0


def makespan(
    cluster: SimulatedCluster, cases: Sequence[Case], lock: Lock, *, longest: bool
) -> float:
    """Return the virtual seconds until the last case has ended.

    longest: start the cases with the longest estimates first, as a run does; else in the order of
        the matrix.
    """

    def estimate(case: Case) -> float | None:
        return report.seconds_of(report.cost_of(case, lock.find(case.axes)))

    logging.getLogger("harness").setLevel(logging.ERROR)  # each lost task is a warning
    fleet = Fleet(cluster, _DAY, cluster.clock)
    job = Job("run", Path(), Path(), ".", (), 0.0, 0.0)
    fleet.start(longest_first(cases, estimate) if longest else cases, lock, job)
    while not fleet.is_idle:
        fleet.wait(_DAY)
    fleet.close()
    return cluster.tally.ended
