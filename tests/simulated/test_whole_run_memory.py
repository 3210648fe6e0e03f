"""Whole runs on a simulated GPU whose memory others hold, or that gives memory back late."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from simulated_runs import (
    MATRIX,
    NET,
    PYTEST,
    halted,
    halting,
    make_project,
    report_of,
    run,
    start,
    train_outcomes,
    wait_for_the_end,
)
from simulated_worlds import GIB, H100_TOTAL, MIB, h100, inside

from harness.simulated.faults import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

# Less than the 0.9 GiB that a probe of the case may use.
TOO_MUCH = H100_TOTAL - 500 * MIB
# A small GPU without a budget: what one probe leaves behind is room that the next one lacks.
SMALL = h100(total_bytes=2 * GIB, nvml_bytes=2 * GIB, context_bytes=16 * MIB)
WHOLE = MATRIX.replace(", budget: 1GiB", "") + "search: {max_batch_size: 4}\n"
# The trace of a prediction runs the same code, on tensors without memory.
KILLED = NET.replace(
    "        x = self.act(self",
    "        if type(images) is torch.Tensor and len(images) == 4:\n"
    "            import os, signal\n"
    "            kept = torch.empty(1 << 29, dtype=torch.uint8, device='cuda')\n"
    "            os.kill(os.getpid(), signal.SIGKILL)\n"
    "        x = self.act(self",
)


@pytest.fixture
def folder(worlds: Worlds) -> Path:
    """Make a user's project with one case on a GPU, and leave it unlocked."""
    return make_project(worlds.folder / "project")


def test_memory_of_others_is_waited_for(worlds: Worlds, folder: Path) -> None:
    """A log says so once, without -v; when the others leave, the case is measured."""
    world = worlds.make(h100(foreign_bytes=TOO_MUCH, foreign_pid=4711, foreign_name="neighbour"))
    command = [*PYTEST, "--gpu-profile-wait", "200", "--gpu-profile-update"]
    with subprocess.Popen(
        command, env=inside(world), cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        before = ""
        while "waiting up to 200 s" not in before:
            line = process.stdout.readline()
            assert line, before
            before += line
        world.take(0)
        output = before + process.stdout.read()
    assert (0, 1) == (process.returncode, output.count("waiting up to")), output
    assert "is busy: 500.0 MiB are free, and a probe may use 921.6 MiB" in before


def test_memory_that_others_keep_ends_the_case_and_no_other(worlds: Worlds, folder: Path) -> None:
    """After the wait the case is an error that names them; a case on another GPU is measured."""
    matrix = MATRIX.replace("[h100-as-1GiB]", "[h100-as-1GiB, l4]")
    matrix += "  l4: {name: NVIDIA L4, budget: 1GiB}\nsearch: {max_batch_size: 4}\n"
    (folder / "profiles" / "matrix.yaml").write_text(matrix)
    world = worlds.make(
        h100(foreign_bytes=TOO_MUCH, foreign_pid=4711),
        h100(name="NVIDIA L4", total_bytes=22558 * MIB, nvml_bytes=23034 * MIB, capability=(8, 9)),
    )
    flags = ("--gpu-profile-wait", "1", "--gpu-profile-update")
    code, output = start(folder, inside(world), *flags, zygotes=worlds.zygotes)
    assert (1, [("error", None), ("passed", 4)]) == (
        code,
        [(case["status"], case["max_batch_size"]) for case in report_of(folder)],
    ), output
    assert "used by process 4711 with 78.6 GiB. Waited 1 s: end what runs there" in output


def test_probe_starts_when_the_memory_of_a_killed_one_is_back(worlds: Worlds, folder: Path) -> None:
    """Without that wait the next probe would find too little, and the case would be an error."""
    (folder / "profiles" / "matrix.yaml").write_text(WHOLE)
    (folder / "net.py").write_text(KILLED)
    code, output = start(
        folder,
        inside(worlds.make(SMALL, late_seconds=0.5)),
        "--gpu-profile-update",
        zygotes=worlds.zygotes,
    )
    (case,) = report_of(folder)
    assert (0, 3, "error") == (code, case["max_batch_size"], case["bounded_by"]), output
    (killed,) = (probe for probe in case["probes"] if probe["batch_size"] == 4)
    assert ("error", "forward", "was killed by SIGKILL") == (
        killed["outcome"],
        killed["phase"],
        killed["detail"],
    )


def test_neighbour_that_comes_and_goes_makes_no_batch_smaller(worlds: Worlds, folder: Path) -> None:
    """A probe that ran out because of one is an error, although all memory is free again."""
    (folder / "net.py").write_text(halting("__import__('os').path.exists('armed')"))
    (folder / "armed").touch()
    world = worlds.make()
    with halted(folder, inside(world), "--gpu-profile-update") as process:
        probes = [os.pidfd_open(holder.pid) for holder in world.holders()]
        world.take(TOO_MUCH)
        (folder / "armed").unlink()
        (folder / "never").write_text("")
        wait_for_the_end(probes)
        world.take(0)
        output, _ = process.communicate(timeout=120)
    (case,) = report_of(folder)
    assert (1, 1, "error", None) == (
        process.returncode,
        len(probes),
        case["status"],
        case["max_batch_size"],
    ), output
    assert "of the GPU's memory while this probe ran, and left less than its limit" in output


@pytest.mark.slow
def test_memory_that_never_comes_back_is_trouble_with_the_machine(
    worlds: Worlds, folder: Path
) -> None:
    """A process that has ended holds it, so NVML names nobody; nothing is measured."""
    (folder / "profiles" / "matrix.yaml").write_text(WHOLE)
    (folder / "net.py").write_text(KILLED)
    code, output = start(
        folder,
        inside(worlds.make(SMALL, late_seconds=3600)),
        "--gpu-profile-wait",
        "0",
        zygotes=worlds.zygotes,
    )
    (case,) = report_of(folder)
    assert (1, "error", None) == (code, case["status"], case["max_batch_size"]), output
    assert "NVML names no process" in output


@pytest.mark.slow
def test_neighbour_that_leaves_enough_changes_nothing(worlds: Worlds, folder: Path) -> None:
    """Memory that another takes in the middle of a probe does not move the largest batch."""
    _, _, alone = run(worlds, folder)
    world = worlds.make()
    world.add(Fault("allocation", code=0, nth=5, neighbour_bytes=H100_TOTAL - 3 * GIB))
    code, output = start(folder, inside(world), "--gpu-profile-update", zygotes=worlds.zygotes)
    (case,) = report_of(folder)
    assert (0, alone["max_batch_size"]) == (code, case["max_batch_size"]), output
    assert train_outcomes(alone) == train_outcomes(case)
    assert H100_TOTAL - 3 * GIB == world.used_bytes()


@pytest.mark.slow
def test_neighbour_that_takes_all_is_no_largest_batch(worlds: Worlds, folder: Path) -> None:
    """Where a probe runs out because of another's memory, the case is an error."""
    world = worlds.make()
    world.add(Fault("allocation", code=0, nth=5, neighbour_bytes=TOO_MUCH))
    code, output = start(folder, inside(world), "--gpu-profile-wait", "0", zygotes=worlds.zygotes)
    (case,) = report_of(folder)
    assert (1, "error", None) == (code, case["status"], case["max_batch_size"]), output
    assert "is busy" in output
