"""Which node gets a case, who tries a lost one again, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from canned_cluster import A100, H200, CannedCluster, answer_of, node

from harness.devices.device import NoSuchDeviceError
from harness.errors import HarnessError, MachineError, WorkloadError
from harness.fleet import answers
from harness.fleet.fleet import Fleet
from harness.fleet.job import Job
from harness.lockfile.profiles import Lock
from harness.matrix.cases import load_matrix
from harness.measurement import Measurement

if TYPE_CHECKING:
    from canned_cluster import Ending

    from harness.fleet.executor import Task
    from harness.matrix.case import Case

MATRIX = """\
version: 1
matrix: {model: [net], gpu: [h200, a100], resolution: [1, 2]}
models: {net: {module: {class_path: zoo.Net}, data: {class_path: zoo.Numbers}}}
gpus: {h200: {name: NVIDIA H200}, a100: {name: "NVIDIA A100*", trainer: {devices: 2}}}
"""
JOB = Job("run", Path("/project"), Path("/project/results"), ".", (), 60.0, 3600.0)


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, Case]:
    """Return two cases of an H200, and two that need two A100 of one node, by id."""
    path = tmp_path / "matrix.yaml"
    path.write_text(MATRIX)
    return {case.id: case for case in load_matrix(path)}


def ran(cluster: CannedCluster, *cases: Case) -> list[Measurement | HarnessError]:
    """Run a fleet on a cluster to its end; return what became of each case."""
    fleet = Fleet(cluster, wait_seconds=100.0, clock=cluster.clock)
    fleet.start(cases, Lock(Path("gpu-profile.lock")), JOB)
    return [fleet.wait_for(case).found for case in cases]


def said(found: Measurement | HarnessError) -> str:
    """Return the first warning of a measurement, or the words of an error."""
    return str(found) if isinstance(found, HarnessError) else found.warnings[0]


def test_case_goes_to_a_node_with_its_gpus(cases: dict[str, Case]) -> None:
    """A case of two GPUs needs both in one node; nodes with others are left out."""
    cluster = CannedCluster([node("h", H200), node("a1", A100), node("a2", A100, A100)])
    ran(cluster, cases["net-a100-1"], cases["net-h200-1"])
    assert [("net-a100-1", "a2"), ("net-h200-1", "h")] == cluster.tasks


def test_declared_nodes_come_before_all_others(cases: dict[str, Case]) -> None:
    """A custom resource with the label of a GPU says which nodes are meant."""
    cluster = CannedCluster([node("h1", H200), node("h2", H200, labels=["h200"])])
    ran(cluster, cases["net-h200-1"])
    assert [("net-h200-1", "h2")] == cluster.tasks


def test_gpu_that_no_node_has(cases: dict[str, Case]) -> None:
    """The reason of a skip lists what the cluster has."""
    cluster = CannedCluster([node("a1", A100), node("a2", A100), node("c")])
    with pytest.raises(NoSuchDeviceError) as caught:
        Fleet(cluster, 100.0).nodes_for(cases["net-h200-1"])
    assert (
        "needs NVIDIA H200: the canned cluster has 2 NVIDIA A100-SXM4-80GB (80.0 GiB) on 2 nodes, "
        "1 node without GPUs"
    ) == str(caught.value)


def lose_on(*names: str) -> CannedCluster:
    """Make a cluster of three H200 on which these nodes lose what they are given."""

    def ending(task: Task, name: str) -> Ending:
        return "killed" if name in names else answer_of(task.case)

    return CannedCluster([node("h1", H200), node("h2", H200), node("h3", H200)], ending)


def test_lost_case_is_measured_elsewhere(cases: dict[str, Case]) -> None:
    """It goes to another node, once, and says so."""
    cluster = lose_on("h1")
    (found,) = ran(cluster, cases["net-h200-1"])
    assert [("net-h200-1", "h1"), ("net-h200-1", "h2")] == cluster.tasks
    assert isinstance(found, Measurement)
    assert (
        "node h1 was lost (killed); measured again on node h2",
        "its logs and plots were lost with node h2",
    ) == found.warnings


def test_case_that_is_lost_twice_is_an_error(cases: dict[str, Case]) -> None:
    """Both nodes are named, and no third one is tried."""
    cluster = lose_on("h1", "h2")
    (found,) = ran(cluster, cases["net-h200-1"])
    assert isinstance(found, MachineError)
    assert "node h1 was lost (killed), and then node h2 was lost (killed)" in str(found)
    assert 2 == len(cluster.tasks)


def test_lost_process_goes_back_to_the_only_node(cases: dict[str, Case]) -> None:
    """Where a process is lost, and its node is the only one, that gets the case again."""
    lost = iter(["killed"])
    cluster = CannedCluster(
        [node("h1", H200)], lambda task, _: next(lost, None) or answer_of(task.case)
    )
    (found,) = ran(cluster, cases["net-h200-1"])
    assert "node h1 was lost (killed); measured again on node h1" == said(found)


def test_case_without_a_node_waits_for_one(cases: dict[str, Case]) -> None:
    """A node that joins within the wait gets the case that its predecessor has lost."""
    cluster = lose_on("h1")
    h2 = cluster.alive[1]
    cluster.alive = cluster.alive[:1]
    fleet = Fleet(cluster, wait_seconds=100.0, clock=cluster.clock)
    fleet.start([cases["net-h200-1"]], Lock(Path("gpu-profile.lock")), JOB)
    cluster.alive = []
    while cluster.now < 20:
        fleet.wait(5.0)
    cluster.alive = [h2]
    found = fleet.wait_for(cases["net-h200-1"]).found
    assert "node h1 was lost (killed); measured again on node h2" == said(found)


def test_wait_for_a_node_ends(cases: dict[str, Case]) -> None:
    """The error says what was lost, what the cluster has, and which flag waits longer."""
    cluster = lose_on("h1")
    cluster.alive = [cluster.alive[0], node("a1", A100)]
    fleet = Fleet(cluster, wait_seconds=100.0, clock=cluster.clock)
    fleet.start([cases["net-h200-1"]], Lock(Path("gpu-profile.lock")), JOB)
    cluster.alive = cluster.alive[1:]
    found = fleet.wait_for(cases["net-h200-1"]).found
    assert isinstance(found, MachineError)
    assert "node h1 was lost (killed); no node that has it was there for" in str(found)
    assert "has 1 NVIDIA A100-SXM4-80GB (80.0 GiB) on 1 node" in str(found)
    assert "--gpu-profile-wait" in str(found)


def test_node_that_has_another_gpu_than_it_seems(cases: dict[str, Case]) -> None:
    """The case goes to the next node; where all are like that, it is an error that names them."""
    wrong = answers.of_error(NoSuchDeviceError("needs NVIDIA H200: this machine has a T4"), {})
    cluster = CannedCluster([node("h1", H200), node("h2", H200)], lambda *_: wrong)
    (found,) = ran(cluster, cases["net-h200-1"])
    assert ["h1", "h2"] == [name for _, name in cluster.tasks]
    assert isinstance(found, MachineError)
    assert "node h1 needs NVIDIA H200: this machine has a T4; node h2" in str(found)


def test_mistake_in_the_workload_is_not_tried_again(cases: dict[str, Case]) -> None:
    """The user's error arrives with its traceback, and names the node: here it may go well."""
    broken = answers.of_error(WorkloadError("cannot be built", "Traceback: x", "/r/a.log"), {})
    cluster = CannedCluster([node("h1", H200), node("h2", H200)], lambda *_: broken)
    (found,) = ran(cluster, cases["net-h200-1"])
    assert isinstance(found, WorkloadError)
    assert ("on node h1: cannot be built", "Traceback: x", "/r/a.log") == (
        str(found),
        found.detail,
        found.log,
    )
    assert 1 == len(cluster.tasks)


def test_answer_that_cannot_be_used_costs_no_other_case(cases: dict[str, Case]) -> None:
    """The case is an error that names the node; all others are measured."""
    one, two = cases["net-h200-1"], cases["net-h200-2"]

    def ending(task: Task, _: str) -> Ending:
        return b"{" if task.case is one else answer_of(task.case)

    bad, good = ran(CannedCluster([node("h1", H200)], ending), one, two)
    assert isinstance(bad, MachineError)
    assert str(bad).startswith("net-h200-1: the answer of node h1 cannot be used: it is no JSON")
    assert isinstance(good, Measurement)


def test_nodes_that_cannot_be_used_are_told(cases: dict[str, Case]) -> None:
    """A node with another version gets no case, and a warning names it."""
    old = node("old", H200)
    old = type(old)(
        old.id, old.name, old.gpus, refusal="pytest-gpu-profile 0.0.9 there, 0.1.0 here"
    )
    cluster = CannedCluster([old, node("h1", H200)])
    ran(cluster, cases["net-h200-1"])
    assert [("net-h200-1", "h1")] == cluster.tasks
    assert (
        "node old of the canned cluster is not used: pytest-gpu-profile 0.0.9 there, 0.1.0 here",
    ) == Fleet(cluster, 1.0).warnings
