"""Declares the interface of a cluster: what it has, what it is given, and what it tells.

An executor decides nothing: `harness.fleet.fleet.Fleet` matches cases with nodes, and tries a lost
one again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.device_identity import DeviceIdentity
    from harness.fleet.job import Job
    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster that is alive."""

    id: str
    """The cluster's own, which no other node has."""
    name: str
    """For people: the name of the host, or its address."""
    gpus: tuple[DeviceIdentity, ...] = ()
    """Its GPUs, as NVML there describes them, each with `count` 1."""
    num_cpus: float = 1.0
    labels: frozenset[str] = frozenset()
    """GPU labels of the matrix for which the cluster's administrator has declared the node."""
    refusal: str | None = None
    """Why nothing is measured here: another version, or no package; None: it is usable."""
    differences: tuple[str, ...] = ()
    """What has another version there than here, in words, and does not keep it from measuring."""


@dataclass(frozen=True, slots=True)
class Task:
    """One case for one of several nodes."""

    case: Case
    profiles: tuple[LockedProfile, ...]
    """The case's locked profiles, one for each device."""
    num_gpus: int
    num_cpus: float
    label: str | None
    """The custom resource that the task needs, one for each rank; None: no node was declared."""
    nodes: tuple[str, ...]
    """The ids of the nodes that can run it, at least one: it must run on one of these."""


@dataclass(frozen=True, slots=True)
class Began:
    """A task runs now."""

    case_id: str
    node: str
    """The id of the node."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A task has ended with an answer, whatever that says of the case."""

    case_id: str
    node: str
    answer: bytes
    """As `harness.fleet.answers.make` has made it. A node may send anything: it is not checked."""
    files: bytes | None
    """The case's logs and plots, as `harness.fleet.packing.pack` has; None where they were lost."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A task has ended without an answer: its node is gone, or its process."""

    case_id: str
    node: str | None
    """None where the task had not begun."""
    reason: str
    """One line."""


Event = Began | Answered | Lost


class Executor(Protocol):
    """A cluster. Every method is called in the thread that runs the tests."""

    @property
    def name(self) -> str:
        """What people call it: `the Ray cluster`."""

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive now; it is called again and again. Raises HarnessError.

        A node that has just joined may come later.
        """

    def begin(self, job: Job) -> None:
        """Take what all tasks share, once, before the first of them."""

    def submit(self, task: Task) -> None:
        """Take a task. A case's first one has ended before its second is submitted."""

    def next(self, seconds: float) -> Event | None:
        """Return what has happened next; wait for it at most so long, and then return None."""

    def cancel(self, case_id: str) -> None:
        """End the task of a case, which tells nothing any more; do nothing where there is none."""

    def close(self) -> None:
        """End all tasks, and leave the cluster; do nothing the second time."""
