"""The table and the JSON of `gpu-profile simulate`, from a world that is filled by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from json_documents import assert_described

from harness.cli.answers.answer import document_text
from harness.cli.simulating.documents import simulate_document
from harness.cli.simulating.peaks import LIMITS, as_text
from harness.simulated.layout import MAX_PEAKS, RawPeak
from harness.simulated.world import SimulatedGpu, World

if TYPE_CHECKING:
    from pathlib import Path

MIB, GIB = 1 << 20, 1 << 30
CONTEXT = 512 * MIB
PLACE = {
    "file": "/elsewhere/train\x07.py",
    "line": 12,
    "function": "main",
    "phase": "backward pass",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Make a world of two GPUs whose ranks have ended, the second one first."""
    gpu = SimulatedGpu("NVIDIA \x1b[31mL4", 24 * GIB, (8, 9), context_bytes=CONTEXT)
    world = World.create(tmp_path / "world", [gpu, gpu])
    place = (12, 2, b"/elsewhere/train\x07.py", b"main")
    world.raw.peaks[0] = RawPeak(102, 1, 1, 1, CONTEXT + 3 * GIB, 0, 1, *place)
    world.raw.peaks[1] = RawPeak(101, 0, 0, 0, CONTEXT + 3 * GIB, 2 * GIB, 0)
    world.raw.num_peaks = 2
    for gpu_raw in world.raw.gpus[:2]:
        gpu_raw.peak = CONTEXT + 3 * GIB
    return world


def test_table_has_a_row_for_each_rank(world: World) -> None:
    """In the order of ranks; bytes in units, and no control characters of a name."""
    expected = """
gpu-profile: exit code 1 on 2 x simulated NVIDIA \\x1b[31mL4, 24.0 GiB each

process  rank  GPU  peak allocated  peak reserved  left on the GPU
-------  ----  ---  --------------  -------------  ---------------
    101     0    0         2.0 GiB        3.0 GiB         20.5 GiB
    102     1    1         unknown        3.0 GiB         20.5 GiB

process 102 on GPU 1 held the most at /elsewhere/train\\x07.py:12, in main, backward pass
process 102 on GPU 1: 1 allocation did not fit
"""
    assert expected + LIMITS + "\n" == as_text(world, 1)


def test_table_tells_that_workspaces_were_not_counted(world: World) -> None:
    """Where the cuDNN beside torch is too old to say them, the last line does."""
    world.raw.gpus[1].workspaces_unknown = True
    told = as_text(world, 1).splitlines()
    expected = "Workspaces of convolutions were not counted: this cuDNN does not say them. Those from 9.11 on do."
    assert expected == told[-1]


def test_json_has_bytes_and_null(world: World) -> None:
    """A program reads what is not known as null."""
    told = json.loads(
        document_text("simulate", simulate_document(world, 1, ["python", "train.py"], []))
    )
    assert_described(told, "simulate")
    assert [["python", "train.py"], 1, 0] == [
        told["command"],
        told["exit_code"],
        told["not_listed"],
    ]
    assert [
        {
            "pid": 101 + rank,
            "rank": rank,
            "local_rank": rank,
            "gpu": rank,
            "peak_reserved_bytes": 3 * GIB,
            "peak_allocated_bytes": None if rank else 2 * GIB,
            "context_bytes": CONTEXT,
            "refused_allocations": rank,
            "where": PLACE if rank else None,
        }
        for rank in (0, 1)
    ] == told["processes"]


@pytest.mark.parametrize(
    ("visible", "line"),
    [
        (None, "No process used CUDA."),
        ("", 'No process used CUDA. CUDA_VISIBLE_DEVICES is "".'),
    ],
)
def test_program_without_cuda_is_told_what_hides_the_gpus(
    world: World, visible: str | None, line: str
) -> None:
    """An empty CUDA_VISIBLE_DEVICES is a usual reason."""
    world.raw.num_peaks = 0
    assert line in as_text(world, 0, visible).splitlines()


def test_later_processes_are_counted(world: World) -> None:
    """A world has places for 1024 processes."""
    world.raw.num_peaks = MAX_PEAKS + 3
    assert "Not listed: 3 later processes." in as_text(world, 0).splitlines()
