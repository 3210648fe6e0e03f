"""Whole runs that tune the batch by its speed, and judge the speed."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from projects import Project, copy_into

if TYPE_CHECKING:
    from typing import Any

MATRIX = """\
version: 1
matrix: {model: [peaked, constant], gpu: [cpu-48MiB], resolution: [1]}
models:
  peaked:
    module: {class_path: speed_zoo.Peaked}
    data: {class_path: zoo.Numbers}
  constant:
    module: {class_path: speed_zoo.Constant}
    data: {class_path: zoo.Numbers}
gpus:
  cpu-48MiB: {accelerator: cpu, budget: 48MiB}
search: {objective: throughput, max_batch_size: 8, validation: false}
lr_range: {when: never}
bounds: {throughput: {max_drop: 20%}}
"""


@pytest.fixture
def speeds(project: Project) -> Project:
    """Make a project with one case that is fastest at batch 4, and one at its largest batch."""
    copy_into(project.path / "profiles", "speed_zoo.py")
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    return project


def locked(project: Project) -> dict[str, dict[str, Any]]:
    """Return the profiles of the lock by model."""
    lock = tomllib.loads(project.lock.read_text(encoding="utf-8"))
    return {profile["model"]: profile for profile in lock["profile"]}


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_fastest_batch_is_locked_and_an_unchanged_run_keeps_it(speeds: Project) -> None:
    """The lock has the fastest batch beside the largest; a run shows all speeds, and passes."""
    speeds.lock_cases()
    profiles = locked(speeds)
    assert [(4, 8), (8, 8)] == [
        (profiles[model]["batch_size"], profiles[model]["max_batch_size"])
        for model in ("peaked", "constant")
    ]
    peaked = profiles["peaked"]
    assert 40 < peaked["samples_per_second"] <= 135
    assert 0 < peaked["samples_per_second_spread"] < 40
    assert "throughput" == peaked["settings"]["search.objective"]

    result = speeds.run("--gpu-profile", "-k", "peaked")
    assert pytest.ExitCode.OK == result.ret
    result.stdout.fnmatch_lines(["peaked-cpu-48MiB-1: batch 4 trains * ± * samples/s; batch 8*"])
    case = speeds.report()["peaked-cpu-48MiB-1"]
    assert (4, [], []) == (case["batch_size"], case["violations"], case["warnings"])
    assert [1, 2, 4, 8] == [speed["batch_size"] for speed in case["speeds"]]
    picture = speeds.results / "peaked-cpu-48MiB-1" / "throughput.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "| 4 (tuned) |" in (speeds.results / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_planted_slowdown_fails_after_a_second_measurement(speeds: Project) -> None:
    """A training that takes twice the time fails, with what was measured twice."""
    speeds.lock_cases()
    (speeds.path / "slow").touch()
    result = speeds.run("--gpu-profile", "-k", "constant")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(
        [
            "constant-cpu-48MiB-1: * samples/s where at least * are allowed",
            "  samples/s * then *at least *",
        ]
    )
    (violation,) = speeds.report()["constant-cpu-48MiB-1"]["violations"]
    assert "throughput" == violation["bound"]
    assert "measured again" in violation["message"]
    assert violation["measured"] < 0.8 * violation["locked"]
