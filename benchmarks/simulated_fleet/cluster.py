"""An executor whose GPUs are simulated: discrete events on a virtual clock, so nothing ever waits.

Nodes fail and come back by a process with a seed, and a few tasks lose their process alone. What
this costs is no time of the controller's: `simulating` has its sum.
"""

from __future__ import annotations

import heapq
import os
import random
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.fleet import answers
from harness.fleet.executor import Answered, Began, Lost, Node
from harness.measurement import Measurement
from simulated_fleet.project import KINDS
from simulated_fleet.values import identity_of

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence

    from harness.fleet.executor import Event, Task
    from harness.fleet.job import Job
    from harness.matrix.case import Case
    from simulated_fleet.values import Values

GPUS = {
    "b200": 4,
    "h200": 16,
    "h100": 40,
    "h100-pcie": 8,
    "a100-80": 32,
    "a100-40": 24,
    "l40s": 16,
    "l4": 16,
    "a10g": 12,
    "v100": 16,
    "t4": 12,
    "rtx4090": 4,
}
"""How many GPUs of each kind there are: 200."""
_PER_NODE = (8, 4, 2, 1)
_NO_ANSWER = answers.of_error(MachineError("not asked for"), {})


@dataclass(frozen=True, slots=True)
class Weather:
    """How often things fail; in virtual seconds."""

    seed: int = 0
    node_lasts: float = float("inf")
    """The mean time from one failure of a node to the next."""
    node_is_gone: float = 1800.0
    """The mean time until it is back."""
    lost_tasks: float = 0.0
    """The share of tasks whose process is lost, while its node stays."""


FAIR = Weather()
ROUGH = Weather(seed=1, node_lasts=36 * 3600.0, lost_tasks=0.002)
"""Each node fails every 36 hours, about as long as a run of ten thousand cases takes."""
STORM = Weather(node_lasts=3000.0, node_is_gone=600.0, lost_tasks=0.05)
"""For few cases: about one in five is lost."""
WEATHERS = {"fair": FAIR, "rough": ROUGH, "storm": STORM}


@dataclass(slots=True)
class _Machine:
    node: Node
    kind: str
    free: int
    alive: bool = True
    running: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By case id: when its task began, and the task's number."""


@dataclass(slots=True)
class Tally:
    """What a run has done to the cluster."""

    busy: dict[str, float] = field(default_factory=dict)
    """The seconds in which GPUs of a kind measured, lost tasks included."""
    tasks: int = 0
    answers: int = 0
    lost: int = 0
    failures_of_nodes: int = 0
    ended: float = 0.0
    """When the last task ended."""
    ended_of: dict[str, float] = field(default_factory=dict)
    """The same of each kind."""


class SimulatedCluster:
    """200 GPUs of twelve kinds, on nodes of one to eight.

    Args:
        values: what a case finds, and how long it takes.
        weather: what fails.
        gpus: the number of GPUs by kind.
        files: what each case leaves, as a node packs it.
        answers: whether cases end with a measurement; else with an error, which costs nothing.

    """

    name = "the simulated cluster"

    def __init__(
        self,
        values: Values,
        weather: Weather = FAIR,
        gpus: dict[str, int] | None = None,
        files: bytes | None = None,
        *,
        answers: bool = True,
    ) -> None:
        self.now = 0.0
        self.simulating = 0.0
        self.tally = Tally()
        self.stop: tuple[signal.Signals, int] | None = None
        """The signal that this process gets, and behind how many answers."""
        self._values = values
        self._weather = weather
        self._files = files
        self._answers = answers
        self._chance = random.Random(weather.seed)  # noqa: S311 - no secret
        self._machines = {one.node.id: one for one in _machines(gpus or GPUS)}
        self._waiting: dict[str, deque[Task]] = {kind: deque() for kind in KINDS}
        self._tasks: dict[str, Task] = {}
        self._numbers = count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._told: deque[Event] = deque()
        for machine in self._machines.values():
            self._plan_failure(machine)

    def clock(self) -> float:
        """Return the virtual time, in seconds."""
        return self.now

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive."""
        return [one.node for one in self._machines.values() if one.alive]

    def begin(self, job: Job) -> None:
        """Do nothing: no node needs the project."""

    def submit(self, task: Task) -> None:
        """Queue a task, and start it where a GPU is free."""
        began = time.process_time()
        self._tasks[task.case.id] = task
        kind = self._machines[task.nodes[0]].kind
        self._waiting[kind].append(task)
        self._dispatch(kind)
        self.simulating += time.process_time() - began

    def next(self, seconds: float) -> Event | None:
        """Return the next event; the clock goes on to it, or by these seconds."""
        began = time.process_time()
        until = self.now + seconds
        while not self._told and self._heap and self._heap[0][0] <= until:
            self.now, _, act = heapq.heappop(self._heap)
            act()
        if not self._told:
            self.now = until
        self.simulating += time.process_time() - began
        event = self._told.popleft() if self._told else None
        if isinstance(event, Answered):
            self.tally.answers += 1
        elif self.stop is not None and self.tally.answers >= self.stop[1]:
            os.kill(os.getpid(), self.stop[0])
        return event

    def cancel(self, case_id: str) -> None:
        """Forget a task that waits."""
        self._tasks.pop(case_id, None)

    def close(self) -> None:
        """Do nothing: there are no processes."""

    def _dispatch(self, kind: str) -> None:
        queue = self._waiting[kind]
        kept: list[Task] = []
        while queue and (free := [one for one in self._machines.values() if _is_free(one, kind)]):
            task = queue.popleft()
            if self._tasks.get(task.case.id) is not task:
                continue  # cancelled
            machine = next((one for one in free if one.node.id in task.nodes), None)
            if machine is None:
                kept.append(task)
            else:
                self._start(machine, task)
        queue.extendleft(reversed(kept))

    def _start(self, machine: _Machine, task: Task) -> None:
        case, number = task.case, next(self._numbers)
        machine.free -= 1
        machine.running[case.id] = (self.now, number)
        self.tally.tasks += 1
        self._told.append(Began(case.id, machine.node.id))
        seconds = self._values.seconds(case)
        fails = self._chance.random() < self._weather.lost_tasks
        self._at(
            seconds * (self._chance.random() if fails else 1.0),
            lambda: self._end(machine, task, number, fails=fails),
        )

    def _end(self, machine: _Machine, task: Task, number: int, *, fails: bool) -> None:
        name = task.case.id
        if machine.running.get(name, (0.0, -1))[1] != number:
            return  # lost with its node
        self._stop(machine, name)
        if fails:
            self.tally.lost += 1
            self._told.append(Lost(name, machine.node.id, "its process was killed"))
        else:
            self._told.append(Answered(name, machine.node.id, self._answer(task.case), self._files))
        machine.free += 1
        self._dispatch(machine.kind)

    def _answer(self, case: Case) -> bytes:
        if not self._answers:
            return _NO_ANSWER
        return answers.of_measurement(Measurement.from_json(self._values.found(case)), {})

    def _stop(self, machine: _Machine, name: str) -> None:
        since, _ = machine.running.pop(name)
        self.tally.busy[machine.kind] = self.tally.busy.get(machine.kind, 0.0) + self.now - since
        self.tally.ended = self.tally.ended_of[machine.kind] = self.now

    def _plan_failure(self, machine: _Machine) -> None:
        if self._weather.node_lasts < float("inf"):
            self._at(
                self._chance.expovariate(1 / self._weather.node_lasts), lambda: self._fail(machine)
            )

    def _fail(self, machine: _Machine) -> None:
        machine.alive = False
        self.tally.failures_of_nodes += 1
        for name in list(machine.running):
            self._stop(machine, name)
            self.tally.lost += 1
            machine.free += 1
            self._told.append(Lost(name, machine.node.id, "its node is gone"))
        self._at(
            self._chance.expovariate(1 / self._weather.node_is_gone), lambda: self._return(machine)
        )

    def _return(self, machine: _Machine) -> None:
        machine.alive = True
        self._plan_failure(machine)
        self._dispatch(machine.kind)

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._numbers), act))


def _is_free(machine: _Machine, kind: str) -> bool:
    return machine.alive and machine.kind == kind and machine.free > 0


def _machines(gpus: dict[str, int]) -> list[_Machine]:
    made: list[_Machine] = []
    for kind, number in gpus.items():
        left = number
        while left:
            size = next(one for one in _PER_NODE if one <= left)
            # Not only the largest: a kind has nodes of several sizes.
            size = min(size, max(1, number // 2))
            left -= size
            name = f"{kind}-{len(made):03}"
            made.append(_Machine(Node(name, name, (identity_of(kind),) * size), kind, size))
    return made


def lower_bound(seconds: dict[str, list[float]], gpus: dict[str, int]) -> float:
    """Return the least time in which cases can be measured, whatever their order.

    seconds: how long each case of a kind takes.
    """
    return max(
        max(sum(several) / gpus[kind], *several) for kind, several in seconds.items() if several
    )
