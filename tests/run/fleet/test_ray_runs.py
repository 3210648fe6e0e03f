"""Whole runs on a real Ray cluster of several nodes on this machine, some of them killed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest
from projects import copy_into
from ray_nodes import RayNodes

from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projects import Project

MATRIX = """\
version: 1
matrix:
  model: [net, stuck]
  gpu: [cpu-48MiB, h200]
  resolution: [1]
  include: [{{model: net, gpu: cpu-48MiB, resolution: 2}}]
models:
  net: {{module: {{class_path: zoo.Net}}, data: {{class_path: zoo.Numbers}}}}
  stuck:
    module: {{class_path: stuck.Stuck, init_args: {{place: {place}}}}}
    data: {{class_path: zoo.Numbers}}
gpus:
  cpu-48MiB: {{accelerator: cpu, budget: 48MiB}}
  h200: {{name: NVIDIA H200}}
search: {{max_batch_size: 16}}
lr_range: {{num_training: 60, seeds: [0], when: never}}
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    """Start a cluster of two nodes with a CPU each, on which no other case runs beside one."""
    with RayNodes({"CPU": 1}, {"CPU": 1}) as started:
        yield started


@contextmanager
def started(project: Project, nodes: RayNodes, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Start a run on the cluster; it is ended with the block."""
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"),
            *("--gpu-profile", "--gpu-profile-executor", "ray", *flags),
        ],
        cwd=project.path,
        env=os.environ | nodes.variables | {"PYTHONWARNINGS": "error"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with run:
        try:
            yield run
        finally:
            run.kill()


def output(run: subprocess.Popen[str]) -> IO[str]:
    """Return the lines that a run prints."""
    assert run.stdout is not None
    return run.stdout


def write_matrix(project: Project, place: Path) -> None:
    """Write three cases for the cluster, of which one is stuck until it may go on, and two more.

    place: an empty folder for `stuck.Stuck`.
    """
    os.mkfifo(place / "begun")
    copy_into(project.path / "profiles", "stuck.py")
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX.format(place=place))
    # The test's own folder may lie below one that has an ini file.
    (project.path / "pytest.ini").write_text("[pytest]\n")


def kill_where_it_runs(run: subprocess.Popen[str], nodes: RayNodes, begun: IO[bytes]) -> list[str]:
    """Read a run's lines until the stuck case is built on a node, and kill that; return them."""
    read = []
    for line in output(run):
        read.append(line)
        if line.startswith("stuck-cpu-48MiB-1: on node "):
            while run.poll() is None:
                if select.select([begun], [], [], 1.0)[0]:
                    begun.readline()
                    nodes.kill(line.split()[-1])
                    return read
    raise AssertionError("".join(read))


def test_killed_node_loses_no_case(project: Project, nodes: RayNodes, tmp_path: Path) -> None:
    """All cases are locked; that of the node is measured again elsewhere, and says so."""
    write_matrix(project, tmp_path)
    with (
        started(project, nodes, "--gpu-profile-update") as run,
        (tmp_path / "begun").open("r+b", buffering=0) as begun,
    ):
        lines = kill_where_it_runs(run, nodes, begun)
        (tmp_path / "go").touch()
        lines += output(run)
        told = "".join(lines)
        assert 0 == run.wait(), told
    nodes.add({"CPU": 1})
    cases = project.report()
    assert {
        "net-cpu-48MiB-1": "passed",
        "net-cpu-48MiB-2": "passed",
        "stuck-cpu-48MiB-1": "passed",
        "net-h200-1": "skipped",
        "stuck-h200-1": "skipped",
    } == {name: case["status"] for name, case in cases.items()}
    assert (
        "needs NVIDIA H200: the Ray cluster has 2 nodes without GPUs"
        == (cases["net-h200-1"]["reason"])
    )
    (note,) = cases["stuck-cpu-48MiB-1"]["warnings"]
    assert "was lost" in note
    assert "; measured again on node " in note
    assert [] == cases["net-cpu-48MiB-1"]["warnings"]
    assert (project.results / "net-cpu-48MiB-1" / "zygote.log").exists()
    assert 3 == len(read_lock(project.lock).profiles)


@pytest.mark.slow
def test_lock_is_that_of_a_run_of_this_machine(
    project: Project, nodes: RayNodes, tmp_path: Path
) -> None:
    """Nodes and this machine lock the same values of a case."""
    write_matrix(project, tmp_path)
    chosen = ("--gpu-profile-update", "-k", "net-cpu")
    with started(project, nodes, *chosen) as run:
        told = "".join(output(run))
        assert 0 == run.wait(), told
    there = read_lock(project.lock)
    project.lock.unlink()
    assert 0 == project.run("--gpu-profile", *chosen).ret
    here = read_lock(project.lock)
    facts = ("axes", "device", "max_batch_size", "batch_size", "fingerprint", "recipe", "settings")
    assert [[getattr(one, name) for name in facts] for one in here.profiles] == [
        [getattr(one, name) for name in facts] for one in there.profiles
    ]


@pytest.mark.slow
def test_case_whose_nodes_die_twice_is_an_error(
    project: Project, nodes: RayNodes, tmp_path: Path
) -> None:
    """The error names both nodes; all other cases are measured."""
    write_matrix(project, tmp_path)
    with (
        started(project, nodes) as run,
        (tmp_path / "begun").open("r+b", buffering=0) as begun,
    ):
        lines = kill_where_it_runs(run, nodes, begun)
        lines += kill_where_it_runs(run, nodes, begun)
        nodes.add({"CPU": 1})
        nodes.add({"CPU": 1})
        lines += output(run)
        run.wait()
    report = json.loads((project.results / "report.json").read_text())
    (stuck,) = (case for case in report["cases"] if case["id"] == "stuck-cpu-48MiB-1")
    assert "error" == stuck["status"], "".join(lines)
    assert stuck["reason"].startswith("stuck-cpu-48MiB-1 cannot be measured: node ")
    assert 2 == stuck["reason"].count(" was lost (")
    assert 2 == sum(case["max_batch_size"] == 16 for case in report["cases"])


@pytest.mark.slow
def test_results_are_written_without_the_head(project: Project, tmp_path: Path) -> None:
    """Ray would end pytest itself. Before that what has not ended is an error; all else stays."""
    write_matrix(project, tmp_path)
    with RayNodes({"CPU": 3}) as nodes, started(project, nodes, "--gpu-profile-update") as run:
        lines = []
        for line in output(run):
            lines.append(line)
            if sum(" PASSED " in one for one in lines) == 2:
                nodes.kill_head()
                break
        lines += output(run)
        assert 1 == run.wait(), "".join(lines)
    report = project.report()
    assert "passed" == report["net-cpu-48MiB-1"]["status"] == report["net-cpu-48MiB-2"]["status"]
    assert "error" == report["stuck-cpu-48MiB-1"]["status"]
    assert report["stuck-cpu-48MiB-1"]["reason"].endswith(" is gone")
    assert 2 == len(read_lock(project.lock).profiles)
