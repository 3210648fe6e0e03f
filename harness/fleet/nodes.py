"""Decides which nodes can run a case, and lists what a cluster has."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.device_identity import DeviceIdentity
from harness.devices.finding import describes
from harness.report.words import count
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.fleet.executor import Node
    from harness.matrix.case import Case

_MAX_SHOWN = 12


def fitting(case: Case, nodes: Iterable[Node]) -> list[Node]:
    """Return the nodes that can run a case.

    Where somebody has declared nodes for the label of its GPU, these alone count.
    """
    usable = [node for node in nodes if node.refusal is None]
    declared = [node for node in usable if case.gpu in node.labels]
    return [node for node in declared or usable if _has_device(case, node)]


def device_of(case: Case, nodes: Sequence[Node]) -> DeviceIdentity | None:
    """Return the device on which one of these nodes will measure a case, as far as it is known."""
    gpu = case.device
    if gpu.accelerator == "cpu":
        return DeviceIdentity("cpu", gpu.budget or 0, case.num_ranks)
    for node in nodes:
        for found in node.gpus:
            if describes(gpu, found.product, found.memory_bytes):
                memory = gpu.budget or found.memory_bytes
                return replace(found, memory_bytes=memory, count=case.num_ranks)
    return None


def listed(nodes: Iterable[Node]) -> str:
    """Return what a cluster has, in words: `8 NVIDIA H200 (141 GiB) on 1 node, 2 nodes without`."""
    nodes = list(nodes)
    gpus = Counter((gpu.name, gpu.memory_bytes) for node in nodes for gpu in node.gpus)
    homes = Counter(
        kind for node in nodes for kind in {(g.name, g.memory_bytes) for g in node.gpus}
    )
    parts = [
        f"{number} {name} ({format_bytes(memory)}) on {count(homes[name, memory], 'node')}"
        for (name, memory), number in gpus.most_common(_MAX_SHOWN)
    ]
    if len(gpus) > _MAX_SHOWN:
        parts.append(f"{len(gpus) - _MAX_SHOWN} more kinds")
    if without := sum(not node.gpus for node in nodes):
        parts.append(f"{count(without, 'node')} without GPUs")
    if refused := [node for node in nodes if node.refusal is not None]:
        parts.append(f"{count(len(refused), 'node')} that cannot be used ({refused[0].refusal})")
    return ", ".join(parts) or "no node"


def wanted(case: Case) -> str:
    """Return what a case needs, in words."""
    gpu = case.device
    if gpu.accelerator == "cpu":
        cores = "a CPU" if case.num_ranks == 1 else f"{case.num_ranks} CPUs"
        return f"{cores} for {case.gpu}"
    memory = "" if gpu.memory is None else f" with {format_bytes(gpu.memory)}"
    number = "" if case.num_ranks == 1 else f"{case.num_ranks} GPUs of one node: "
    return f"{number}{gpu.name}{memory}"


def _has_device(case: Case, node: Node) -> bool:
    gpu = case.device
    if gpu.accelerator == "cpu":
        return node.num_cpus >= case.num_ranks
    alike = [one for one in node.gpus if describes(gpu, one.product, one.memory_bytes)]
    return len(alike) >= case.num_ranks and (gpu.budget or 0) <= alike[0].memory_bytes
