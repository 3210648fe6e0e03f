"""Whole runs on a simulated GPU that are interrupted in the middle of a probe."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from simulated_runs import (
    MATRIX,
    halted,
    halting,
    make_project,
    report_of,
    wait_for_the_end,
)
from simulated_worlds import CONTEXT, inside

from harness.file_locks import holder_of, is_locked
from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

TWO_CASES = MATRIX.replace("[32]}", "[16, 32]}") + "search: {max_batch_size: 4}\n"


@pytest.fixture
def folder(worlds: Worlds) -> Path:
    """Make a user's project with two cases, the second of which halts in its first probe."""
    return make_project(worlds.folder / "project", TWO_CASES, halting("images.shape[-1] == 32"))


@pytest.mark.parametrize(
    ("number", "group", "expected"),
    [
        (signal.SIGINT, True, 2),
        pytest.param(signal.SIGINT, False, 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, False, 143, marks=pytest.mark.slow),
    ],
    ids=["Ctrl-C", "kill -INT", "kill"],
)
def test_interrupted_run_frees_the_gpu_and_keeps_what_it_measured(
    worlds: Worlds, folder: Path, number: signal.Signals, group: bool, expected: int
) -> None:
    """The probe ends, too; the report has both cases, and the lockfile is not written."""
    world = worlds.make()
    with halted(folder, inside(world), "--gpu-profile-update") as process:
        holders = [os.pidfd_open(holder.pid) for holder in world.holders()]
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        output, _ = process.communicate(timeout=120)
    wait_for_the_end(holders)
    assert (expected, 1) == (process.returncode, len(holders)), output
    told = [(case["id"], case["status"], case["max_batch_size"]) for case in report_of(folder)]
    assert ("net-h100-as-1GiB-16", "passed", 4) == told[0]
    assert [("net-h100-as-1GiB-32", "error", None)] == told[1:]
    candidate = read_lock(folder / ".gpu-profile" / "candidate.lock")
    assert ["net-h100-as-1GiB-16"] == [profile.case_id for profile in candidate]
    assert not (folder / "profiles" / "gpu-profile.lock").exists()
    ((free, total),) = worlds.run(world, "tell(torch.cuda.mem_get_info())")
    assert free == total - CONTEXT


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("-n", "1")], ids=["run", "worker"])
def test_killed_holder_frees_its_gpu(worlds: Worlds, folder: Path, flags: tuple[str, ...]) -> None:
    """SIGKILL to whoever holds the GPU, the run itself or its worker: lock and memory are free."""
    world = worlds.make()
    lock = world.path.parent / "gpu-profile-GPU-51000000-0000-4000-8000-000000000000.lock"
    with halted(folder, inside(world), *flags) as process:
        assert is_locked(lock)
        holders = [os.pidfd_open(holder.pid) for holder in world.holders()]
        holder = int(holder_of(lock).split()[1])
        assert (holder == process.pid) == (not flags)
        killed = os.pidfd_open(holder)
        os.kill(holder, signal.SIGKILL)
        wait_for_the_end([killed, *holders])
        assert not is_locked(lock)
        if flags:  # the controller goes on with another worker, which would halt as well
            process.kill()
        process.communicate(timeout=120)
    ((free, total),) = worlds.run(world, "tell(torch.cuda.mem_get_info())")
    assert free == total - CONTEXT
