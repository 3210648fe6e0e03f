"""Whole runs of `pytest --gpu-profile` over simulated GPUs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from simulated_runs import (
    MATRIX,
    NET,
    halted,
    halting,
    make_project,
    run,
    start,
    train_outcomes,
    wait_for_the_end,
)
from simulated_worlds import CONTEXT, GIB, MIB, h100, inside

from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated


@pytest.fixture
def folder(worlds: Worlds) -> Path:
    """Make a user's project with one case on a GPU, and leave it unlocked."""
    return make_project(worlds.folder / "project")


def test_search_ends_in_torchs_own_out_of_memory(worlds: Worlds, folder: Path) -> None:
    """B fits, B + 1 is CUDA's OutOfMemoryError at the fraction, and the case was never locked."""
    code, output, case = run(worlds, folder)
    largest = case["max_batch_size"]
    outcomes = train_outcomes(case)
    assert [1, "fits", "oom", "memory"] == [
        code,
        outcomes[largest],
        outcomes[largest + 1],
        case["bounded_by"],
    ]
    assert "OutOfMemoryError: CUDA out of memory" in next(
        probe["detail"] for probe in case["probes"] if probe["batch_size"] == largest + 1
    )
    assert case["memory_limit_bytes"] == int(0.9 * GIB)
    assert "never locked on simulated NVIDIA H100" in output


def test_profile_of_a_simulated_gpu_says_so(worlds: Worlds, folder: Path) -> None:
    """Its device is marked in the lock, which has no speed and no learning rate; a run warns."""
    code, output, _ = run(worlds, folder, "--gpu-profile-update")
    (profile,) = read_lock(folder / "profiles" / "gpu-profile.lock")
    assert (0, "simulated NVIDIA H100 80GB HBM3", None, None) == (
        code,
        profile.device.name,
        profile.samples_per_second,
        profile.learning_rate,
    )
    assert profile.lr_refusal == "a simulated GPU computes no loss"
    assert "this GPU is simulated" in output


def test_warm_run_takes_two_probes(worlds: Worlds, folder: Path) -> None:
    """With a lock, the run tries B and B + 1 alone, and passes."""
    _, _, cold = run(worlds, folder, "--gpu-profile-update")
    code, _, warm = run(worlds, folder)
    largest = cold["max_batch_size"]
    assert (0, [largest, largest + 1]) == (
        code,
        sorted(probe["batch_size"] for probe in warm["probes"]),
    )


def test_regression_fails(worlds: Worlds, folder: Path) -> None:
    """An activation that keeps its input makes the batch smaller, and the run fails."""
    run(worlds, folder, "--gpu-profile-update")
    (folder / "net.py").write_text(NET.replace("nn.ReLU(inplace=True)", "nn.GELU()"))
    code, output, case = run(worlds, folder)
    assert (1, "failed") == (code, case["status"])
    assert f"max batch {case['max_batch_size']} (-" in output


def test_foreign_memory_is_named_and_nothing_is_measured(worlds: Worlds, folder: Path) -> None:
    """A GPU that others fill is trouble with the machine: an error of the test, no regression."""
    code, output, case = run(
        worlds, folder, "--gpu-profile-wait", "0", foreign_bytes=81008 * MIB - 700 * MIB
    )
    assert (1, "error", None) == (code, case["status"], case["max_batch_size"])
    assert "is busy" in output


def test_two_workers_share_two_gpus(worlds: Worlds, folder: Path) -> None:
    """Each of xdist's workers takes a GPU for its case; alike GPUs make one profile per case."""
    matrix = MATRIX.replace("resolution: [32]}", "resolution: [16, 32]}")
    (folder / "profiles" / "matrix.yaml").write_text(matrix)
    environment = inside(worlds.make(h100(), h100()))
    code, output = start(
        folder, environment, "--gpu-profile-update", "-n", "2", zygotes=worlds.zygotes
    )
    profiles = read_lock(folder / "profiles" / "gpu-profile.lock")
    assert (0, ["net-h100-as-1GiB-16", "net-h100-as-1GiB-32"]) == (
        code,
        sorted(profile.case_id for profile in profiles),
    ), output


def test_precision_and_accumulation_are_the_trainers(worlds: Worlds, folder: Path) -> None:
    """In bf16 more samples fit than in fp32, and the accumulated gradients count."""
    _, _, full = run(worlds, folder)
    settings = "trainer: {precision: bf16-mixed, accumulate_grad_batches: 2}\n"
    (folder / "profiles" / "matrix.yaml").write_text(MATRIX + settings)
    _, output, half = run(worlds, folder)
    largest = half["max_batch_size"]
    assert largest > full["max_batch_size"], output
    assert ["fits", "oom"] == [train_outcomes(half)[size] for size in (largest, largest + 1)]


def test_expandable_segments_end_in_out_of_memory_too(worlds: Worlds, folder: Path) -> None:
    """The allocator's setting reaches the probes, and the fraction bounds what is mapped."""
    setting = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    code, output = start(folder, inside(worlds.make()) | setting, "--gpu-profile-update")
    (profile,) = read_lock(folder / "profiles" / "gpu-profile.lock")
    assert (0, "memory") == (code, profile.bounded_by), output
    assert "expandable_segments" in str(dict(profile.settings))


def test_instance_of_a_gpu_is_a_device_of_its_own(worlds: Worlds, folder: Path) -> None:
    """An instance in MIG mode is found by its name, and named in the lock."""
    world = worlds.make(
        h100(mig=True),
        h100(
            name="NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            parent=0,
            instance=(7, 0),
            total_bytes=9 * GIB,
            nvml_bytes=10 * GIB,
        ),
    )
    matrix = MATRIX.replace(
        "{name: NVIDIA H100*, budget: 1GiB}", "{name: '*MIG 1g.10gb', budget: 1GiB}"
    )
    (folder / "profiles" / "matrix.yaml").write_text(matrix)
    code, output = start(folder, inside(world), "--gpu-profile-update", zygotes=worlds.zygotes)
    assert code == 0, output
    (profile,) = read_lock(folder / "profiles" / "gpu-profile.lock")
    assert ("simulated NVIDIA H100 80GB HBM3 MIG 1g.10gb", "memory") == (
        profile.device.name,
        profile.bounded_by,
    )


def test_memory_of_a_killed_run_is_given_back(worlds: Worlds, folder: Path) -> None:
    """SIGKILL for pytest in the middle of a probe ends the probe, too, and frees the GPU."""
    (folder / "net.py").write_text(halting())
    world = worlds.make()
    with halted(folder, inside(world)) as process:
        holders = [os.pidfd_open(holder.pid) for holder in world.holders()]
        process.kill()
    wait_for_the_end(holders)
    assert len(holders) == 1
    ((free, total),) = worlds.run(world, "tell(torch.cuda.mem_get_info())")
    assert free == total - CONTEXT
