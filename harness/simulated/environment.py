"""The environment variables under which a process lives in a simulated world."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.simulated.library import CUDA, cache, library
from harness.simulated.mark import WORLD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.simulated.world import World


def environment(
    world: World, base: Mapping[str, str] = os.environ, torch_folder: Path | None = None
) -> dict[str, str]:
    """Return the variables of a process that is to live in a world, merged with those of `base`.

    torch_folder: the package of the torch that the process will import; None: that of this
    environment.

    Raises HarnessError where the library cannot be had.
    """
    folder = library(base, torch_folder)
    compiled = cache(base) / "simulated-kernels"
    return {
        WORLD: str(world.path),
        # It answers for all of CUDA's libraries, before those that torch brings along.
        "LD_PRELOAD": _before(folder / CUDA, base.get("LD_PRELOAD")),
        # NVML is looked up by name, by its Python binding and by torch.
        "LD_LIBRARY_PATH": _before(folder, base.get("LD_LIBRARY_PATH")),
        "TRITON_LIBCUDA_PATH": str(folder),
        # Kernels that were tuned without a GPU must not be found by one that is there.
        "TRITON_CACHE_DIR": str(compiled / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(compiled / "inductor"),
    }


def inside(snapshots: Path | None = None) -> dict[str, str]:
    """Return more variables, for whole programs that know nothing of the simulation.

    Their processes tell where memory peaked, and torch's ranks send each other objects.

    snapshots: a folder where each process leaves a snapshot of its memory when it ends.
    """
    module = Path(__file__).with_name("inside.py")
    told = {} if snapshots is None else {"GPU_PROFILE_SIMULATED_SNAPSHOTS": str(snapshots)}
    return {"GPU_PROFILE_SIMULATED_INSIDE": str(module), **told}


def watching(world: World, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of a process that sees a world's GPUs through NVML, without any of CUDA.

    Raises HarnessError where the library cannot be had.
    """
    inside = environment(world, base)
    return {name: inside[name] for name in (WORLD, "LD_LIBRARY_PATH")}


def _before(path: object, rest: str | None) -> str:
    return f"{path}:{rest}" if rest else str(path)
