"""A run on a real Ray cluster whose nodes have several simulated GPUs, also of two kinds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from gpu_users import SHORT, looks, overlaps, short_cases
from ray_nodes import RayNodes
from simulated_runs import MATRIX, make_project, report_of, start
from simulated_worlds import GIB, h100, inside

from harness.simulated import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated
T4 = h100(name="Tesla T4", total_bytes=15 * GIB, nvml_bytes=16 * GIB)
H100S = [f"GPU-51000000-0000-4000-8000-{place:012x}" for place in (1, 2)]


def run_on(
    nodes: Sequence[Mapping[str, float | str]], world: Mapping[str, str], folder: Path
) -> str:
    """Lock the cases of a project on a cluster of these nodes in a world; return the output."""
    with RayNodes(*nodes, environment=world) as cluster:
        variables = {**os.environ, **cluster.variables}
        flags = ("--gpu-profile-executor", "ray", "--gpu-profile-update")
        code, output = start(folder, variables, *flags)
    assert 0 == code, output
    return output


def test_cases_of_one_node_have_gpus_of_their_own(worlds: Worlds) -> None:
    """A node has the GPUs that Ray's own process sees there; one whose GPUs differ is refused."""
    record = worlds.folder / "record"
    folder = short_cases(worlds.folder / "project", 4, record)
    matrix = folder / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8")
    text = text.replace("gpus:\n", "gpus:\n  t4: {name: Tesla T4}\n")
    matrix.write_text(text.replace("gpu: [", "gpu: [t4, "), encoding="utf-8")
    world = inside(worlds.make(T4, h100(), h100()))
    pair: dict[str, float | str] = {"CPU": 2, "GPU": 2, "CUDA_VISIBLE_DEVICES": ",".join(H100S)}
    output = run_on([pair, {"CPU": 1, "GPU": 3}], world, folder)
    statuses = [(case["axes"]["gpu"], case["status"]) for case in report_of(folder)]
    assert 4 * [("h100-as-1GiB", "passed")] + 4 * [("t4", "skipped")] == sorted(statuses)
    differ = "simulated Tesla T4 (16.0 GiB), simulated NVIDIA H100 80GB HBM3 (79.6 GiB)"
    assert f" is not used: its GPUs differ ({differ})" in output
    seen = looks(record)
    assert ({*H100S}, [], []) == (
        {one.gpu for one in seen},
        [one for one in seen if one.strangers],
        list(overlaps(seen)),
    )


@pytest.mark.slow
def test_case_of_two_ranks_has_both_gpus_of_a_node(worlds: Worlds) -> None:
    """Two such cases follow each other there; on one GPU neither would begin."""
    matrix = MATRIX.replace("resolution: [32]}", "resolution: [16, 24]}") + SHORT
    folder = make_project(
        worlds.folder / "project", matrix + "trainer: {devices: 2, strategy: ddp}\n"
    )
    world = inside(worlds.make(h100(), h100())) | environment.inside()
    run_on([{"CPU": 2, "GPU": 2}, {"CPU": 1, "GPU": 1}], world, folder)
    cases = report_of(folder)
    assert 2 * [("passed", 2, 2)] == [
        (case["status"], case["device"]["count"], case["max_batch_size"]) for case in cases
    ]
