"""Where the snapshots of a simulated program go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.cli.simulating.snapshots import keep_snapshots, snapshot_lines
from harness.simulated.layout import RawPeak
from harness.simulated.world import SimulatedGpu, World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Make a world with two ranks and a process without one."""
    world = World.create(tmp_path / "world", [SimulatedGpu("any", 1 << 30, (8, 0))])
    for place, (pid, rank) in enumerate([(11, 0), (12, 1), (13, -1)]):
        world.raw.peaks[place] = RawPeak(pid, 0, rank, rank, 0, 0, 0)
    world.raw.num_peaks = 3
    return world


@pytest.mark.parametrize(
    ("pids", "names"),
    [
        ([12], ["memory.pickle"]),
        ([11, 12, 13], ["memory-13.pickle", "memory-rank0.pickle", "memory-rank1.pickle"]),
    ],
)
def test_names_tell_the_process_where_there_are_several(
    world: World, tmp_path: Path, pids: list[int], names: list[str]
) -> None:
    """By its rank, or by its id."""
    for pid in pids:
        (tmp_path / f"{pid}.pickle").write_bytes(b"")
    target = tmp_path / "kept"
    target.mkdir()
    kept = keep_snapshots(tmp_path, target / "memory.pickle", world)
    assert pids == [one.pid for one in kept]
    told = snapshot_lines(kept)
    assert names == sorted(path.name for path in target.iterdir())
    assert len(pids) == told.count("show them at https://pytorch.org/memory_viz")


def test_missing_snapshot_is_told(world: World, tmp_path: Path) -> None:
    """A process that was killed has left none."""
    kept = keep_snapshots(tmp_path, tmp_path / "memory.pickle", world)
    assert snapshot_lines(kept).startswith("No snapshot: ")
