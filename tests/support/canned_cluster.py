"""A cluster of canned nodes, for the tests of the fleet: each task ends as the test has said."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from measurements import measurement

from harness.fleet import answers
from harness.fleet.executor import Answered, Began, Lost, Node
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.fleet.executor import Event, Task
    from harness.fleet.job import Job
    from harness.matrix.case import Case

GIB = 1 << 30
H200 = DeviceIdentity("NVIDIA H200", 141 * GIB)
A100 = DeviceIdentity("NVIDIA A100-SXM4-80GB", 80 * GIB)
Ending = bytes | str | None
"""Of a task: its answer, why it is lost, or None where it goes on for ever."""


def node(name: str, *gpus: DeviceIdentity, cpus: float = 4.0, labels: Sequence[str] = ()) -> Node:
    """Make a node, whose id is its name."""
    return Node(name, name, gpus, cpus, frozenset(labels))


def answer_of(case: Case, device: DeviceIdentity = H200) -> bytes:
    """Return the answer of a node that has measured a case."""
    return answers.of_measurement(measurement(axes=case.axes, device=device), {})


class CannedCluster:
    """An executor; its time passes as far as it is waited for.

    ending: is asked how a task on a node ends; by default each has measured its case.
    """

    name = "the canned cluster"

    def __init__(
        self, nodes: Sequence[Node], ending: Callable[[Task, str], Ending] | None = None
    ) -> None:
        self.alive = list(nodes)
        self.now = 0.0
        self.tasks: list[tuple[str, str]] = []
        """The case and the node of each task that was run, in order."""
        self.is_open = True
        self._ending = ending or (lambda task, _: answer_of(task.case))
        self._events: deque[Event] = deque()

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive."""
        return tuple(self.alive)

    def begin(self, job: Job) -> None:
        """Take what all tasks share."""

    def submit(self, task: Task) -> None:
        """Run a task on the first node that it names and that is alive; else it waits for ever."""
        assert task.nodes, "a task names its nodes"
        here = next((one.id for one in self.alive if one.id in task.nodes), None)
        if here is None:
            return
        name = task.case.id
        self.tasks.append((name, here))
        self._events.append(Began(name, here))
        ending = self._ending(task, here)
        if isinstance(ending, bytes):
            self._events.append(Answered(name, here, ending, None))
        elif isinstance(ending, str):
            self._events.append(Lost(name, here, ending))

    def next(self, seconds: float) -> Event | None:
        """Return what has happened; else let the time pass."""
        if self._events:
            return self._events.popleft()
        self.now += seconds
        return None

    def cancel(self, case_id: str) -> None:
        """Forget a task."""
        self._events = deque(one for one in self._events if one.case_id != case_id)

    def close(self) -> None:
        """Note the end."""
        self.is_open = False
