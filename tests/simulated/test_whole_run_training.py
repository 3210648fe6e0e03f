"""Whole runs on a simulated GPU: what a training does to its memory, and what a case says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from simulated_runs import MATRIX, NET, make_project, report_of, run, start, train_outcomes
from simulated_worlds import inside

from harness.lockfile.profiles import read_lock
from harness.simulated.faults import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

# Images that grow from step to step: each step's tensors fit none of the blocks that the step
# before has left in the allocator's cache.
GROWING = NET.replace(
    "    def forward(self, images):\n",
    "    steps = 0\n\n"
    "    def forward(self, images):\n"
    "        self.steps += 1\n"
    "        images = nn.functional.pad(images, (0, self.steps))\n",
)
VALIDATING = """
import lightning, torch
from torch import nn
from torch.utils.data import DataLoader
from harness.synthetic import SyntheticImages

class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.batch_size, self.stem = 1, nn.Conv2d(3, 16, 3)
        self.net = nn.Sequential(self.stem, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, _):
        torch.stack([self.stem(batch[0]) for _ in range(16)]).sum()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def train_dataloader(self):
        return DataLoader(SyntheticImages(32, 10), self.batch_size)

    val_dataloader = train_dataloader
"""
VALIDATING_MATRIX = """
version: 1
matrix: {model: [net], gpu: [h100-as-256MiB], resolution: [32]}
models: {net: {module: {class_path: net.Net}}}
gpus:
  h100-as-256MiB: {name: NVIDIA H100*, budget: 256MiB}
"""


@pytest.fixture
def folder(worlds: Worlds) -> Path:
    """Make a user's project with one case on a GPU, and leave it unlocked."""
    return make_project(worlds.folder / "project")


def edge(case: Any, kind: str = "train", size: str = "max_batch_size") -> list[tuple[str, Any]]:
    """Return outcome and phase of the largest batch and of the next one."""
    found = {
        probe["batch_size"]: (probe["outcome"], probe["phase"])
        for probe in case["probes"]
        if probe["kind"] == kind
    }
    return [found[case[size]], found[case[size] + 1]]


def test_batch_that_fits_by_retries_is_told(worlds: Worlds, folder: Path) -> None:
    """It counts; its probe has the number of retries, and the run says that it thrashes."""
    (folder / "net.py").write_text(GROWING)
    code, output, case = run(worlds, folder, "--gpu-profile-update")
    retries = next(
        probe["alloc_retries"]
        for probe in reversed(case["probes"])
        if probe["batch_size"] == case["max_batch_size"]
    )
    assert (0, "memory", True) == (code, case["bounded_by"], retries > 0)
    told = f"batch {case['max_batch_size']} trains, but it thrashes: torch's allocator"
    assert told in output
    assert f"emptied its cache {retries} times after the first step" in " ".join(output.split())


@pytest.mark.slow
def test_batch_that_fits_by_retries_may_be_refused(worlds: Worlds, folder: Path) -> None:
    """With `allow_thrashing: false` the largest batch has none, and the next is out of memory."""
    (folder / "net.py").write_text(GROWING)
    (folder / "profiles" / "matrix.yaml").write_text(MATRIX + "search: {allow_thrashing: false}\n")
    code, output, case = run(worlds, folder, "--gpu-profile-update")
    largest = case["max_batch_size"]
    first, after = (
        next(probe for probe in reversed(case["probes"]) if probe["batch_size"] == size)
        for size in (largest, largest + 1)
    )
    assert (0, 0, "oom") == (code, first["alloc_retries"], after["outcome"])
    assert after["detail"].startswith("trains only because the allocator empties its cache (")
    assert "thrashes" not in output


def test_validation_that_runs_out_bounds_the_batch(worlds: Worlds, folder: Path) -> None:
    """Within the same fit, though training has room: the phase of B + 1 says where it ended."""
    make_project(folder / "validating", VALIDATING_MATRIX, VALIDATING)
    code, output, case = run(worlds, folder / "validating", "--gpu-profile-update")
    assert (0, [("fits", None), ("oom", "validation")]) == (code, edge(case)), output


@pytest.mark.slow
def test_validation_has_a_batch_of_its_own(worlds: Worlds, folder: Path) -> None:
    """Where it is searched for, it does not bound training's, and ends in validation."""
    matrix = VALIDATING_MATRIX + "search: {validation: search}\n"
    make_project(folder / "validating", matrix, VALIDATING)
    code, output, case = run(worlds, folder / "validating", "--gpu-profile-update")
    assert (0, [("fits", None), ("oom", "backward")]) == (code, edge(case)), output
    assert [("fits", None), ("oom", "validation")] == edge(
        case, "validation", "validation_batch_size"
    )
    assert case["validation_batch_size"] < case["max_batch_size"]


def test_asynchronous_allocator_ends_in_out_of_memory_too(worlds: Worlds, folder: Path) -> None:
    """Its error is told apart by its type; it has no retries, no history and no prediction."""
    setting = {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
    code, output = start(folder, inside(worlds.make()) | setting, "--gpu-profile-update")
    (case,) = report_of(folder)
    outcomes, largest = train_outcomes(case), case["max_batch_size"]
    assert (0, "memory", ["fits", "oom"]) == (
        code,
        case["bounded_by"],
        [outcomes[size] for size in (largest, largest + 1)],
    ), output
    assert {
        "OutOfMemoryError: Allocation on device 0 would exceed allowed memory. (out of memory)"
    } == {probe["detail"] for probe in case["probes"] if probe["outcome"] == "oom"}
    assert ({0}, [], None) == (
        {probe["alloc_retries"] for probe in case["probes"]},
        case["artifacts"],
        case["predicted_batch_size"],
    )


def test_half_precision_scales_its_gradients(worlds: Worlds, folder: Path) -> None:
    """Under 16-mixed the scaler's steps take effect, so a batch fits; the lock has the setting."""
    (folder / "profiles" / "matrix.yaml").write_text(MATRIX + "trainer: {precision: 16-mixed}\n")
    code, output, case = run(worlds, folder, "--gpu-profile-update")
    assert (0, [("fits", None), ("oom", "backward")]) == (code, edge(case)), output
    (profile,) = read_lock(folder / "profiles" / "gpu-profile.lock")
    assert "16-mixed" == profile.settings["trainer.precision"]


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Fault("cublas", code=3, times=0), "error", "CUBLAS_STATUS_ALLOC_FAILED"),
        (Fault("engine", code=1, times=0), "failed", "cuDNN has no kernel for an operation"),
    ],
    ids=["cuBLAS", "cuDNN"],
)
def test_library_that_never_works_is_no_batch_of_zero(
    worlds: Worlds, folder: Path, fault: Fault, status: str, words: str
) -> None:
    """It is told as trouble of the machine or of the workload, and there is no measurement."""
    world = worlds.make()
    world.add(fault)
    exit_code, output = start(folder, inside(world), zygotes=worlds.zygotes)
    (case,) = report_of(folder)
    assert (1, status, None) == (exit_code, case["status"], case["max_batch_size"]), output
    assert words in " ".join(output.split())
