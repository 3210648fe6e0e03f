"""The edge between B and B + 1 on a simulated GPU, in whole runs."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from simulated_runs import MATRIX, make_project, report_of, start
from simulated_worlds import h100, inside

from harness.simulated.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds
    from torch_server import TorchServer

pytestmark = pytest.mark.simulated

# torch refuses to reflect a tensor of 2^31 elements: 2730 of these images have less.
REFLECTING = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 10)

    def forward(self, images):
        wide = nn.functional.pad(images.repeat(1, 64, 2, 2), (1, 1, 1, 1), mode="reflect")
        return self.head(wide.mean((2, 3)))
"""


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, torch_server: TorchServer
) -> tuple[Path, Any]:
    """Measure a project's case on one H100 once; return its folder and the case of the report."""
    folder = tmp_path_factory.mktemp("edges")
    world = World.create(folder / "world", [h100()])
    project = make_project(folder / "project")
    code, output = start(project, inside(world), "--gpu-profile-update")
    assert code == 0, output
    (case,) = report_of(project)
    return project, case


def test_batches_that_fit_need_no_retries(measured: tuple[Path, Any]) -> None:
    """Where steps are alike the allocator's cache serves each of them, at B as well (26)."""
    _, case = measured
    fitting = [probe for probe in case["probes"] if probe["outcome"] == "fits"]
    assert case["max_batch_size"] in {probe["batch_size"] for probe in fitting}
    assert {0} == {probe["alloc_retries"] for probe in fitting}


def test_zygote_on_a_cuda_build_forks_its_probes(measured: tuple[Path, Any]) -> None:
    """It imports torch and Lightning and builds the module, without threads and CUDA (29)."""
    _, case = measured
    assert [] == [text for text in case["warnings"] if "cannot be forked" in text]


def test_peak_at_the_largest_batch_may_be_far_below_the_limit(measured: tuple[Path, Any]) -> None:
    """By more than one sample's share: the allocation that fails is of a whole batch (17)."""
    _, case = measured
    limit = case["memory_limit_bytes"]
    assert limit - case["peak_memory_bytes"] > limit / case["max_batch_size"]


def test_snapshot_has_the_stacks_of_what_was_alive(measured: tuple[Path, Any]) -> None:
    """The history of batch B + 1 is beside the report, and names lines of the user's code (44)."""
    project, case = measured
    (path,) = case["artifacts"]
    assert path.endswith(f"out-of-memory-b{case['max_batch_size'] + 1}.pickle")
    snapshot = pickle.loads((project / path).read_bytes())  # noqa: S301 - this run wrote it
    assert {"device_traces", "segments"} <= {*snapshot}
    alive = [
        frame["filename"]
        for segment in snapshot["segments"]
        for block in segment["blocks"]
        if block["state"] == "active_allocated"
        for frame in block["frames"]
    ]
    assert str(project / "net.py") in alive


def test_check_for_indexes_bounds_by_error(worlds: Worlds) -> None:
    """The refusal of 2^31 elements by torch is no lack of memory, and B stays what fits (38)."""
    matrix = MATRIX.replace(", budget: 1GiB", "") + "search: {steps_per_trial: 1}\n"
    folder = make_project(worlds.folder / "project", matrix, REFLECTING)
    code, output = start(
        folder, inside(worlds.make()), "--gpu-profile-update", zygotes=worlds.zygotes
    )
    (case,) = report_of(folder)
    largest = case["max_batch_size"]
    assert (0, "error", True) == (code, case["bounded_by"], 2000 < largest <= 2730), output
    (after,) = (probe for probe in case["probes"] if probe["batch_size"] == largest + 1)
    assert ("error", "forward", "RuntimeError: input tensor must fit into 32-bit index math") == (
        after["outcome"],
        after["phase"],
        after["detail"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["", "expandable_segments:True"])
def test_cold_searches_agree(worlds: Worlds, setting: str) -> None:
    """Five of them, each in new processes, with and without expandable segments (35, 36)."""
    found = set()
    for number in range(5):
        folder = make_project(worlds.folder / f"project-{number}")
        environment = inside(worlds.make()) | {"PYTORCH_CUDA_ALLOC_CONF": setting}
        code, output = start(folder, environment, "--gpu-profile-update", zygotes=worlds.zygotes)
        assert code == 0, output
        (case,) = report_of(folder)
        found.add((case["max_batch_size"], case["peak_memory_bytes"]))
    assert 1 == len(found)
