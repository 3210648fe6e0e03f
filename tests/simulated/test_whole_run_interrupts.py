"""Whole runs on a simulated GPU that are interrupted in the middle of a probe."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from simulated_runs import MATRIX, NET, PYTEST, make_project, report_of
from simulated_worlds import CONTEXT, inside

from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

# The second case halts in its first probe. The trace of its prediction runs the same code, on
# tensors without memory.
HALTING = NET.replace(
    "        x = self.act(self",
    "        if type(images) is torch.Tensor and images.shape[-1] == 32:\n"
    "            kept = torch.empty(1 << 29, dtype=torch.uint8, device='cuda')\n"
    "            open('reached', 'w').close(); open('never').read()\n"
    "        x = self.act(self",
)
TWO_CASES = MATRIX.replace("[32]}", "[16, 32]}") + "search: {max_batch_size: 4}\n"


@pytest.fixture
def folder(worlds: Worlds) -> Path:
    """Make a user's project with two cases, the second of which halts in its first probe."""
    folder = make_project(worlds.folder / "project", TWO_CASES, HALTING)
    for fifo in ("reached", "never"):
        os.mkfifo(folder / fifo)
    return folder


@pytest.mark.parametrize(
    ("number", "group", "expected"),
    [(signal.SIGINT, True, 2), (signal.SIGINT, False, 2), (signal.SIGTERM, False, 143)],
    ids=["Ctrl-C", "kill -INT", "kill"],
)
def test_interrupted_run_frees_the_gpu_and_keeps_what_it_measured(
    worlds: Worlds, folder: Path, number: signal.Signals, group: bool, expected: int
) -> None:
    """The probe ends, too; the report has the first case, and the lockfile is not written."""
    world = worlds.make()
    with subprocess.Popen(
        [*PYTEST, "--gpu-profile-update"],
        env=inside(world),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        (folder / "reached").open("rb").close()  # it opens when the probe is in its forward pass
        holders = [os.pidfd_open(holder.pid) for holder in world.holders()]
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        output, _ = process.communicate(timeout=120)
    for holder in holders:
        select.select([holder], [], [])
        os.close(holder)
    assert (expected, 1) == (process.returncode, len(holders)), output
    assert [("net-h100-as-1GiB-16", "passed", 4)] == [
        (case["id"], case["status"], case["max_batch_size"]) for case in report_of(folder)
    ]
    candidate = read_lock(folder / ".gpu-profile" / "candidate.lock")
    assert ["net-h100-as-1GiB-16"] == [profile.case_id for profile in candidate]
    assert not (folder / "profiles" / "gpu-profile.lock").exists()
    ((free, total),) = worlds.run(world, "tell(torch.cuda.mem_get_info())")
    assert free == total - CONTEXT
