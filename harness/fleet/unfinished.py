"""Keeps what a fleet knows of the cases that have not ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.matrix.case import Case


@dataclass(slots=True)
class Unfinished:
    """A case without an outcome."""

    case: Case
    losses: list[str] = field(default_factory=list)
    """What was lost, each as `node a100-3 (its process was killed)`."""
    avoided: set[str] = field(default_factory=set)
    """The ids of nodes that it is not given to again, if there are others."""
    mismatches: list[str] = field(default_factory=list)
    """Nodes that have said that they do not have its device."""
    nodes: tuple[str, ...] = ()
    """The ids of those that its task may run on; empty while it waits for a node."""
    runs_on: str | None = None
    since: float = 0.0
    """Since when nothing that could run it has done anything for this run."""


@dataclass(slots=True)
class Waiting:
    """The cases that wait for one of the same nodes: a look at them is one for thousands."""

    nodes: tuple[str, ...]
    most: int
    """How many of them the cluster has at once, beside those that run."""
    given: dict[str, Unfinished] = field(default_factory=dict)
    """Those that the cluster has."""
    held: dict[str, Unfinished] = field(default_factory=dict)
    """Those that it gets later, the most urgent first: it may have other nodes by then."""
    oldest: float = float("inf")
    """No case of them waits for longer than since then."""
    worked: float = float("-inf")
    """When one of the nodes was last seen to work for this run."""

    @property
    def cases(self) -> list[Unfinished]:
        """All of them."""
        return [*self.given.values(), *self.held.values()]
