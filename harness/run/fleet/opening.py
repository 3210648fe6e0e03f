"""Opens the fleet of a run: its executor by name, and what cannot be asked of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.fleet.fleet import Fleet
from harness.fleet.procedure import Elsewhere
from harness.fleet.ray_cluster import RayCluster
from harness.run.paths import RESULTS_NAME
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.fleet.executor import Executor
    from harness.run.paths import Paths

_OPTION = "gpu_profile_executor"


def _ray(root: Path, excluded: tuple[str, ...]) -> Executor:
    return RayCluster(root, excluded)


EXECUTORS: dict[str, Callable[[Path, tuple[str, ...]], Executor]] = {"ray": _ray}
"""The executors by name: each takes the project's root, and folders in it that stay here."""

# Flags that say how this machine measures, or that no node could obey.
_REFUSED = {
    "gpu_profile_predict": "predictions need no GPU, so no fleet: leave out one of them",
    "gpu_profile_share": "the cluster gives each case a GPU of its own: leave out one of them",
}


def open_fleet(paths: Paths, options: Mapping[str, Any], waits: tuple[float, float]) -> Elsewhere:
    """Connect to the cluster that the options name. Raises HarnessError.

    waits: seconds to wait for memory, and for other runs.
    """
    name = str(options[_OPTION])
    if name not in EXECUTORS:
        raise HarnessError(
            f"--gpu-profile-executor {name} (ini: {_OPTION}) is none of: "
            f"{', '.join(EXECUTORS)}. For Slurm see docs/fleet.md"
        )
    for option, why in _REFUSED.items():
        if options[option]:
            flag = option.replace("_", "-")
            raise HarnessError(f"--{flag} is not used beside --gpu-profile-executor: {why}")
    root = paths.root.absolute()
    if not paths.matrix.absolute().is_relative_to(root):
        raise HarnessError(
            f"--gpu-profile-executor {name}: {shown_path(paths.matrix)} is not in rootdir, {root}, "
            "which is what the nodes get: start the run in the project, or set --rootdir"
        )
    results = paths.results.absolute()
    own = str(results.relative_to(root)) if results.is_relative_to(root) else RESULTS_NAME
    executor = EXECUTORS[name](root, (own,))
    try:
        fleet = Fleet(executor, waits[1])
    except BaseException:
        executor.close()
        raise
    return Elsewhere(fleet, f" --gpu-profile-executor {name}", waits)


def refuse_workers(options: Mapping[str, Any]) -> None:
    """Raise HarnessError: xdist's workers would each connect, and measure the same cases."""
    raise HarnessError(
        f"-n is not used beside --gpu-profile-executor {options[_OPTION]}, which measures all "
        "cases at once, each on a node: leave out -n"
    )
