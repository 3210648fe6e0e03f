"""Whole runs of sixty cases on a simulated fleet whose nodes fail: what is kept, and what is said.

The session, the fleet and the reports are the real ones. Only the cluster is simulated, and it asks
nothing of torch (`benchmarks/simulated_fleet`).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from simulated_fleet.plugin import NAME, SEED, STOP, WEATHER
from simulated_fleet.project import write_project

from harness.lockfile.profiles import read_lock

_ROOT = Path(__file__).parents[3]
_PATHS = os.pathsep.join([str(_ROOT), str(_ROOT / "benchmarks")])
_CASES = 60


@dataclass(frozen=True)
class Ran:
    """A run that has ended."""

    code: int
    output: str
    project: Path

    @property
    def cases(self) -> list[dict[str, Any]]:
        """The cases of report.json."""
        text = (self.project / ".gpu-profile" / "report.json").read_text(encoding="utf-8")
        cases: list[dict[str, Any]] = json.loads(text)["cases"]
        return cases

    def ids(self, status: str) -> set[str]:
        """Return the cases of a status."""
        return {case["id"] for case in self.cases if case["status"] == status}

    def locked(self, name: str) -> set[str]:
        """Return the cases that a lockfile holds."""
        return {profile.case_id for profile in read_lock(self.project / name)}


def run(project: Path, *flags: str, **variables: str) -> Ran:
    """Run all cases of a project on a fleet in a storm."""
    if not project.exists():
        write_project(project, _CASES)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "simulated_fleet.plugin"),
            *("--gpu-profile", "--gpu-profile-executor", NAME, *flags),
        ],
        cwd=project,
        env=os.environ | {WEATHER: "storm", "PYTHONPATH": _PATHS, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout + done.stderr, project)


@pytest.fixture(scope="module")
def stormy(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Return a run in which nodes have failed, and which has locked what it found."""
    return run(tmp_path_factory.mktemp("fleet") / "one", "--gpu-profile-update", **{SEED: "3"})


@pytest.mark.probes
def test_no_finished_case_is_lost(stormy: Ran) -> None:
    """Each case has a result: it was measured, or lost on two nodes, which is an error."""
    assert _CASES == len(stormy.cases)
    assert _CASES == len(stormy.ids("passed")) + len(stormy.ids("error"))
    assert stormy.locked("profiles/gpu-profile.lock") == stormy.ids("passed")


@pytest.mark.probes
def test_each_case_that_was_lost_says_so(stormy: Ran) -> None:
    """A retried case warns which node was lost; one that was lost twice names both."""
    again = {
        case["id"]
        for case in stormy.cases
        if any("measured again on node" in warning for warning in case["warnings"])
    }
    told = {
        *re.findall(r"(model000-\S+): node .* was lost .*; it is measured again", stormy.output)
    }
    assert (True, again) == (len(again) > 5, told - stormy.ids("error"))
    assert all(
        "was lost" in case["reason"] and "and then" in case["reason"]
        for case in stormy.cases
        if case["status"] == "error"
    )


@pytest.mark.probes
def test_values_do_not_depend_on_which_node_answers_first(stormy: Ran, tmp_path: Path) -> None:
    """In another storm other cases are lost; the profiles that both have locked are the same."""
    other = run(tmp_path / "other", "--gpu-profile-update", **{SEED: "4"})
    one, two = (
        {
            profile.case_id: profile
            for profile in read_lock(ran.project / "profiles/gpu-profile.lock")
        }
        for ran in (stormy, other)
    )
    both = one.keys() & two.keys()
    assert len(both) > 50
    assert [one[name] for name in sorted(both)] == [two[name] for name in sorted(both)]
    lost = [{case["id"] for case in ran.cases if case["warnings"]} for ran in (stormy, other)]
    assert lost[0] != lost[1]


@pytest.mark.probes
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SIGTERM", 128 + signal.SIGTERM),
        pytest.param("SIGINT", 2, marks=pytest.mark.slow),
    ],
)
def test_interrupted_run_keeps_every_case_that_has_ended(
    tmp_path: Path, name: str, code: int
) -> None:
    """Behind the twentieth answer: report.json and candidate.lock hold those cases and no more."""
    ran = run(tmp_path / "project", "--gpu-profile-update", **{STOP: f"{name}:20"})
    measured = {case["id"] for case in ran.cases if case["max_batch_size"] is not None}
    assert (code, True) == (ran.code, 20 <= len(measured) < 30)
    assert measured == ran.locked(".gpu-profile/candidate.lock")
    assert not (ran.project / "profiles" / "gpu-profile.lock").exists()


@pytest.mark.probes
@pytest.mark.slow
def test_killed_run_keeps_logs_alone(tmp_path: Path) -> None:
    """Nobody can write reports behind SIGKILL: the next run measures all cases, and ends well."""
    project = tmp_path / "project"
    ran = run(project, "--gpu-profile-update", **{STOP: "SIGKILL:20"})
    folder = project / ".gpu-profile"
    left = {path.name for path in folder.iterdir() if path.is_file()}
    logs = [*folder.glob("*/003-train-b31.log")]
    assert (-signal.SIGKILL, {".gitignore", ".gpu-profile-results"}) == (ran.code, left)
    assert 20 <= len(logs) < 30
    again = run(project, "--gpu-profile-update")
    assert _CASES == len(again.ids("passed")) + len(again.ids("error"))
