"""Keeps the snapshots that the processes of a simulated world have left, under the user's name."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.simulated.world import World

_ENDING = ".pickle"
_VIEWER = "https://pytorch.org/memory_viz"


def keep_snapshots(folder: Path, path: Path, world: World) -> str:
    """Move the snapshots of a folder to where the user wants them, and return what to tell.

    One process has the path itself. Of several, each has its rank or its id before the ending.
    """
    ranks = {str(peak.pid): peak.rank for peak in world.peaks()}
    found = sorted(folder.glob(f"[0-9]*{_ENDING}"))
    if not found:
        return (
            "No snapshot: no process of torch has ended by itself after it used CUDA. One that is "
            "killed leaves none.\n"
        )
    told = []
    for snapshot in found:
        rank = ranks.get(snapshot.stem)
        name = snapshot.stem if rank is None else f"rank{rank}"
        target = path if len(found) == 1 else path.with_name(f"{path.stem}-{name}{path.suffix}")
        shutil.move(snapshot, target)
        told.append(f"{target}: allocations of process {snapshot.stem}; show them at {_VIEWER}\n")
    return "".join(told)
