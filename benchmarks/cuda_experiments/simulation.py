"""Runs a session on a simulated GPU, and keeps what the simulation says for sessions on real ones.

The values lie in `benchmarks/results/cuda_simulated.json`, under the torch and the GPU.
"""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuda_experiments.setting import version_of
from harness.files import put_text
from harness.predict.gpus import by_label, simulated
from harness.simulated.environment import environment
from harness.simulated.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.simulated.world import SimulatedGpu

VALUES = Path(__file__).resolve().parent.parent / "results" / "cuda_simulated.json"
RECORDED = ("7", "11", "12", "13")
"""The experiments whose simulation is compared with a real GPU: the workloads, the networks."""
_PACKAGES = ("torch", "torchvision", "timm", "transformers", "lightning")
_GIVEN = "given batch "
_PEAKS = ("peak_allocated_bytes", "peak_reserved_bytes", "retries", "error")


def simulated_gpu(label: str, workspace_bytes: int | None = 0) -> SimulatedGpu:
    """Return a GPU of the table of predictions; raises HarnessError for an unknown label.

    workspace_bytes: what each convolution asks for; None: what cuDNN chooses for it.
    """
    return simulated(by_label(label), workspace_bytes=workspace_bytes)


def enter(label: str, directory: Path, arguments: Sequence[str]) -> None:
    """Start this script again, in the place of this process, with a simulated GPU."""
    directory.mkdir(parents=True, exist_ok=True)
    world = World.create(directory / "world", [simulated_gpu(label)])
    os.execve(  # noqa: S606 - there is no shell
        sys.executable, [sys.executable, *arguments], os.environ | environment(world)
    )


def expected_of(gpu_name: str, torch_version: str) -> dict[str, Any]:
    """Return the simulation's values for a GPU, as `values_of` makes them.

    They are those of the same torch and GPU, else of the same torch, else of any; {} where there
    are none. `of` names them.
    """
    if not VALUES.exists():
        return {}
    known: dict[str, Any] = json.loads(VALUES.read_text(encoding="utf-8"))
    exact = key_of(gpu_name, torch_version)
    for begin in (exact, exact.partition(",")[0] + ",", "torch"):
        for key, values in known.items():
            if key.startswith(begin):
                return {"of": key, **values}
    return {}


def key_of(gpu_name: str, torch_version: str) -> str:
    """Return the key of the values: `torch 2.11.0, NVIDIA H200`."""
    public = re.split(r"\+", torch_version)[0]
    return f"torch {public}, {gpu_name.removeprefix('simulated ')}"


def keep_values(gpu_name: str, content: dict[str, Any]) -> None:
    """Put a recorded session's values into the file, in the place of those of its key."""
    known = json.loads(VALUES.read_text(encoding="utf-8")) if VALUES.exists() else {}
    known[key_of(gpu_name, version("torch"))] = values_of(content)
    put_text(VALUES, json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def values_of(content: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a session: per workload B and the peaks of given batches, per network.

    Bytes are those of torch's allocator.
    """
    facts = {number: content["experiments"].get(number, {}).get("facts", {}) for number in RECORDED}
    workloads: dict[str, Any] = {}
    for name, fact in facts["7"].items():
        workload, _, rest = name.partition(", ")
        if not rest and "B" in fact:
            kept = {key: fact[key] for key in ("B", "bounded_by", "exact", "limit_bytes")}
            workloads.setdefault(workload, {}).update(kept)
        elif rest.startswith(_GIVEN):
            known = workloads.setdefault(workload, {}).setdefault("batches", {})
            known[rest.removeprefix(_GIVEN)] = {
                key: fact[key]
                for key in ("outcome", "allocated_bytes", "reserved_bytes", "retries")
            }
    networks: dict[str, Any] = {}
    for number in RECORDED[1:]:
        for name, fact in facts[number].items():
            network, _, ending = name.partition(", ")
            peaks = {key: fact[key] for key in _PEAKS if key in fact}
            networks.setdefault(ending, {})[network] = peaks
    return {
        "made_with": {package: version_of(package) for package in _PACKAGES},
        "budget_bytes": content["budget_bytes"],
        "workloads": workloads,
        "networks": networks,
    }
