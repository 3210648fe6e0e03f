"""Cases that wait for nodes: how many the cluster gets, and who takes them when nodes change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from simulated_fleet.project import write_project
from simulated_fleet.values import identity_of

from harness.errors import MachineError
from harness.fleet.executor import Began, Event, Lost, Node, Task
from harness.fleet.fleet import Fleet
from harness.fleet.job import Job
from harness.lockfile.profiles import Lock
from harness.matrix.cases import load_matrix

if TYPE_CHECKING:
    from harness.matrix.case import Case

_JOB = Job("run", Path(), Path(), ".", (), 0.0, 0.0)


class Cluster:
    """A cluster in which a test decides what happens."""

    name = "the cluster"

    def __init__(self, *nodes: str) -> None:
        self.here = list(nodes)
        self.now = 0.0
        self.tasks: dict[str, Task] = {}
        self.events: list[Event] = []

    def nodes(self) -> list[Node]:
        """Return the nodes that are here, each with one GPU."""
        return [Node(name, name, (identity_of("t4"),)) for name in self.here]

    def begin(self, job: Job) -> None:
        """Do nothing."""

    def submit(self, task: Task) -> None:
        """Keep a task."""
        self.tasks[task.case.id] = task

    def next(self, seconds: float) -> Event | None:
        """Return the next event of the test; without one the time goes on."""
        if self.events:
            return self.events.pop(0)
        self.now += seconds
        return None

    def cancel(self, case_id: str) -> None:
        """Forget a task, if there is one."""
        self.tasks.pop(case_id, None)

    def close(self) -> None:
        """Do nothing."""

    @property
    def given(self) -> dict[str, tuple[str, ...]]:
        """The nodes of each task, by the last part of the case's id."""
        return {name.rpartition("-")[2]: task.nodes for name, task in self.tasks.items()}


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Return six cases of one kind of GPU."""
    write_project(tmp_path, 72)
    loaded = load_matrix(tmp_path / "profiles" / "matrix.yaml", [str(tmp_path)])
    return [case for case in loaded if case.gpu == "t4"]


def started(cluster: Cluster, cases: list[Case], wait_seconds: float = 100.0) -> Fleet:
    """Return a fleet that has all cases."""
    fleet = Fleet(cluster, wait_seconds, lambda: cluster.now)
    fleet.start(cases, Lock(Path("gpu-profile.lock")), _JOB)
    return fleet


def test_cluster_gets_two_cases_for_each_gpu_that_waits(cases: list[Case]) -> None:
    """The most urgent two, and the third when the first has begun: it keeps count of few."""
    cluster = Cluster("a")
    fleet = started(cluster, cases)
    assert ["128", "160"] == [*cluster.given]
    cluster.events.append(Began(cases[0].id, "a"))
    fleet.wait(1.0)
    assert ["128", "160", "192"] == [*cluster.given]


def test_node_that_joins_takes_cases_that_wait(cases: list[Case]) -> None:
    """What was started with one node goes on with both; what that node has stays with it."""
    cluster = Cluster("a")
    fleet = started(cluster, cases)
    cluster.here.append("b")
    fleet.wait(5.0)
    assert {
        "128": ("a",),
        "160": ("a",),
        **dict.fromkeys(("192", "224", "288", "384"), ("a", "b")),
    } == cluster.given


def test_cases_of_a_node_that_is_gone_go_to_another(cases: list[Case]) -> None:
    """Those that the cluster had for it are taken back."""
    cluster = Cluster("a")
    fleet = started(cluster, cases)
    cluster.here[:] = ["c"]
    fleet.wait(5.0)
    assert {("c",)} == {*cluster.given.values()}
    assert 2 == len(cluster.given)


def test_cases_without_a_node_end_after_the_wait(cases: list[Case]) -> None:
    """Both those that the cluster had and those that it had not; one that runs goes on."""
    cluster = Cluster("a")
    fleet = started(cluster, cases)
    cluster.events.append(Began(cases[0].id, "a"))
    fleet.wait(1.0)
    cluster.here.clear()
    ended = []
    for _ in range(40):
        ended += fleet.wait(5.0)
    assert [case.id for case in cases[1:]] == sorted(ended)
    outcome = fleet.outcome(cases[1])
    assert outcome is not None
    assert isinstance(outcome.found, MachineError)
    assert "needs Tesla T4" in str(outcome.found)


def test_cases_do_not_time_out_while_a_node_works_for_the_run(cases: list[Case]) -> None:
    """The node is busy for twice the wait; then it is lost, and the waiting time counts anew."""
    cluster = Cluster("a")
    fleet = started(cluster, cases)
    cluster.events.append(Began(cases[0].id, "a"))
    ended = []
    for _ in range(40):
        ended += fleet.wait(5.0)
    assert [] == ended
    cluster.events.append(Lost(cases[0].id, "a", "its process was killed"))
    for _ in range(10):
        ended += fleet.wait(5.0)
    assert [] == ended
    for _ in range(20):
        ended += fleet.wait(5.0)
    assert {case.id for case in cases} == {*ended}
