"""Keeps the snapshots that the processes of a simulated world have left, under the user's name."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.simulated.world import World

_ENDING = ".pickle"
_VIEWER = "https://pytorch.org/memory_viz"


class Snapshot(NamedTuple):
    """The snapshot of a process, where the user wants it."""

    path: Path
    pid: int


def keep_snapshots(folder: Path, path: Path, world: World) -> list[Snapshot]:
    """Move the snapshots of a folder to where the user wants them.

    One process has the path itself. Of several, each has its rank or its id before the ending.
    """
    ranks = {str(peak.pid): peak.rank for peak in world.peaks()}
    found = sorted(folder.glob(f"[0-9]*{_ENDING}"))
    kept = []
    for snapshot in found:
        rank = ranks.get(snapshot.stem)
        name = snapshot.stem if rank is None else f"rank{rank}"
        target = path if len(found) == 1 else path.with_name(f"{path.stem}-{name}{path.suffix}")
        shutil.move(snapshot, target)
        kept.append(Snapshot(target, int(snapshot.stem)))
    return kept


def snapshot_lines(kept: Sequence[Snapshot]) -> str:
    """Return what to tell of the snapshots that were kept."""
    if not kept:
        return (
            "No snapshot: no process of torch has ended by itself after it used CUDA. One that is "
            "killed leaves none."
        )
    return "\n".join(
        f"{one.path}: allocations of process {one.pid}; show them at {_VIEWER}" for one in kept
    )
