"""Whole runs on a canned cluster: the order of the tests, what is kept, and what nodes may send."""

from __future__ import annotations

import io
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from canned_cluster import CannedCluster, node
from measurements import measurement

from harness.errors import OutOfTimeError
from harness.fleet import answers
from harness.fleet.executor import Answered
from harness.lockfile.profiles import read_lock
from harness.measurement import DeviceIdentity
from harness.run.fleet.opening import EXECUTORS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from canned_cluster import Ending
    from projects import Project

    from harness.fleet.executor import Event, Task

CPU = DeviceIdentity("cpu", 48 << 20)
FLEET = ("--gpu-profile", "--gpu-profile-executor", "canned")


class Backwards(CannedCluster):
    """A cluster that ends the cases in the reverse order of their submission."""

    def next(self, seconds: float) -> Event | None:
        """Return the event that was last."""
        if self._events:
            return self._events.pop()
        return super().next(seconds)


def measured(task: Task, _: str = "") -> Ending:
    """Return the answer of a node that has measured a case of the project."""
    found = measurement(
        axes=task.case.axes, device=CPU, emulated=True, max_batch_size=16, batch_size=16
    )
    return answers.of_measurement(found, {})


@pytest.fixture
def fleet(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CannedCluster]:
    """Return a function that makes the cluster of the project's runs, which has four cases."""
    matrix = project.path / "profiles" / "matrix.yaml"
    matrix.write_text(matrix.read_text().replace("resolution: [1]", "resolution: [1, 2, 3, 4]"))
    (project.path / "pytest.ini").write_text("[pytest]\n")

    def make(ending: Any = measured, kind: type[CannedCluster] = CannedCluster) -> CannedCluster:
        cluster = kind([node("a"), node("b")], ending)
        monkeypatch.setitem(EXECUTORS, "canned", lambda *_: cluster)
        return cluster

    return make


def interrupt_in_the_first_test(project: Project) -> None:
    """Run a project's tests on its fleet, with a Ctrl-C in the first one."""
    (project.path / "conftest.py").write_text(
        "def pytest_runtest_call():\n    raise KeyboardInterrupt\n"
    )
    run = project.pytester.inline_run("-p", "no:cacheprovider", *FLEET, no_reraise_ctrlc=True)
    assert pytest.ExitCode.INTERRUPTED == run.ret


def test_tests_run_in_the_order_in_which_cases_end(
    project: Project, fleet: Callable[..., CannedCluster]
) -> None:
    """All cases are given at once; a user's own test of a case sees what its node has measured."""
    cluster = fleet(kind=Backwards)
    (project.path / "test_profiles.py").write_text(
        "from harness.testing import test_gpu_profile\n\n"
        "def test_own(gpu_profile):\n"
        "    assert 16 == gpu_profile.measurement.max_batch_size\n"
        "    assert 'cpu' == gpu_profile.measurement.device.name\n"
    )
    result = project.run(*FLEET, "--gpu-profile-update", "-v")
    result.assert_outcomes(passed=8)
    ran = [line.partition("[")[2].partition("]")[0] for line in result.outlines if "] PASS" in line]
    assert ["net-cpu-48MiB-4"] * 2 == ran[:2]
    assert 4 == len(cluster.tasks)
    assert not cluster.is_open
    assert 4 == len(read_lock(project.lock).profiles)


def test_first_failure_ends_the_run(project: Project, fleet: Callable[..., CannedCluster]) -> None:
    """Under -x the others are given up, and the cluster is left."""
    cluster = fleet()
    result = project.run(*FLEET, "-x")
    result.assert_outcomes(failed=1)
    assert not cluster.is_open


def test_interruption_keeps_what_has_ended(
    project: Project, fleet: Callable[..., CannedCluster]
) -> None:
    """Ctrl-C in the first test: the candidate holds all cases that their nodes have measured."""
    fleet()
    interrupt_in_the_first_test(project)
    locked = read_lock(project.results / "candidate.lock").profiles
    assert 4 == len(locked)
    assert {"error"} == {case["status"] for case in project.report().values()}
    assert not project.lock.exists()


def test_interruption_lists_the_case_that_a_node_measures(
    project: Project, fleet: Callable[..., CannedCluster]
) -> None:
    """Ctrl-C while a case runs on a node: the reports say so, and its values stay unknown."""
    fleet(lambda task, _: None if task.case.resolution == 4 else measured(task))
    interrupt_in_the_first_test(project)
    case = project.report()["net-cpu-48MiB-4"]
    assert ("error", "interrupted while node a measured it", None) == (
        case["status"], case["reason"], case["max_batch_size"],
    )  # fmt: skip
    assert 3 == len(read_lock(project.results / "candidate.lock").profiles)


def test_what_a_node_sends_is_not_trusted(
    project: Project, fleet: Callable[..., CannedCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that leads elsewhere is left out; an answer that is none costs its own case."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../hostile.txt", "bad")
        archive.writestr("zygote.log", "good")

    class Hostile(CannedCluster):
        def next(self, seconds: float) -> Event | None:
            event = super().next(seconds)
            if isinstance(event, Answered):
                return Answered(event.case_id, event.node, event.answer, packed.getvalue())
            return event

    def ending(task: Task, _: str) -> Ending:
        return b"\0" if task.case.resolution == 1 else measured(task)

    fleet(ending, Hostile)
    result = project.run(*FLEET, "--gpu-profile-update")
    result.assert_outcomes(passed=3, errors=1)
    assert [] == [*project.path.rglob("hostile.txt")]
    report = project.report()
    assert "the answer of node a cannot be used" in report["net-cpu-48MiB-1"]["reason"]
    (note,) = report["net-cpu-48MiB-2"]["warnings"]
    assert note.endswith("left out, because of their names or sizes: ../../hostile.txt")
    assert "good" == (project.results / "net-cpu-48MiB-2" / "zygote.log").read_text()


def test_time_budget_is_kept_by_the_nodes(
    project: Project, fleet: Callable[..., CannedCluster]
) -> None:
    """A case whose node had no time is skipped; one that has ended counts."""

    def ending(task: Task, _: str) -> Ending:
        if task.case.resolution == 1:
            return measured(task)
        return answers.of_error(OutOfTimeError("the time budget was used up"), {})

    fleet(ending)
    result = project.run(*FLEET, "--gpu-profile-update", "--gpu-profile-budget", "1s")
    result.assert_outcomes(passed=1, skipped=3)


def test_matrix_must_be_in_what_the_nodes_get(
    project: Project, fleet: Callable[..., CannedCluster], tmp_path: Path
) -> None:
    """A matrix outside of rootdir is refused by name."""
    fleet()
    other = tmp_path / "matrix.yaml"
    other.write_text((project.path / "profiles" / "matrix.yaml").read_text())
    here = ("--rootdir", str(project.path))
    result = project.run(*FLEET, *here, "--gpu-profile-matrix", str(other))
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["ERROR: --gpu-profile-executor canned: *matrix.yaml is not in *"])


def test_ray_is_an_extra(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray the message names the command that installs it."""
    monkeypatch.setitem(sys.modules, "ray", None)
    result = project.run("--gpu-profile", "--gpu-profile-executor", "ray")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(
        ["ERROR: --gpu-profile-executor ray needs Ray, *pip install 'pytest-gpu-profile[[]ray[]]'*"]
    )


def test_address_where_nobody_listens(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that cannot be reached is one sentence, at once."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    result = project.run("--gpu-profile", "--gpu-profile-executor", "ray", subprocess=True)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(
        ["ERROR: *no Ray cluster can be reached (RAY_ADDRESS is 127.0.0.1:1): start one *refused"]
    )
