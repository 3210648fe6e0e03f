"""The JSON document of `gpu-profile simulate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from harness.cli.simulating.peaks import by_rank, headroom
from harness.simulated.peaks import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.cli.simulating.snapshots import Snapshot
    from harness.simulated.world import World


class SimulatedGpuData(TypedDict):
    """A simulated GPU, and what was needed of it."""

    gpu: int
    """Its place, from 0."""
    name: str
    total_bytes: int
    """Its memory, as CUDA sees it."""
    peak_used_bytes: int
    """By all processes together, contexts included."""
    headroom_bytes: int
    """What was free when it was fullest."""


class ProcessData(TypedDict):
    """What one process needed of one GPU at most."""

    pid: int
    rank: int | None
    local_rank: int | None
    gpu: int
    peak_reserved_bytes: int
    peak_allocated_bytes: int | None
    """null where its allocator does not tell."""
    context_bytes: int
    """Its CUDA context, beside what it reserved."""
    refused_allocations: int
    where: Place | None
    """Where it was when it held the most."""


class SnapshotData(TypedDict):
    """The history of the allocations of one process, for torch's memory viewer."""

    pid: int
    path: str


class SimulateDocument(TypedDict):
    """The answer of `simulate`, printed with `--json`, written with `--json PATH`."""

    simulated: bool
    """Always: memory was counted, and nothing was computed."""
    command: list[str]
    exit_code: int
    """The program's, as a shell gives it."""
    gpus: list[SimulatedGpuData]
    processes: list[ProcessData]
    """In the order of ranks; empty where none has used CUDA."""
    not_listed: int
    """Later processes, of which nothing is known."""
    snapshots: list[SnapshotData]


def simulate_document(
    world: World, code: int, command: Sequence[str], snapshots: Iterable[Snapshot]
) -> SimulateDocument:
    """Return what the processes of a world needed, once its program has ended."""
    peaks = by_rank(world)
    return {
        "simulated": True,
        "command": list(command),
        "exit_code": code,
        "gpus": [
            {
                "gpu": gpu,
                "name": world.raw.gpus[gpu].name.decode(),
                "total_bytes": world.raw.gpus[gpu].total,
                "peak_used_bytes": world.peak_used_bytes(gpu),
                "headroom_bytes": headroom(world, gpu),
            }
            for gpu in range(world.raw.num_gpus)
        ],
        "processes": [
            {
                "pid": peak.pid,
                "rank": peak.rank,
                "local_rank": peak.local_rank,
                "gpu": peak.gpu,
                "peak_reserved_bytes": peak.reserved_bytes,
                "peak_allocated_bytes": peak.allocated_bytes,
                "context_bytes": world.raw.gpus[peak.gpu].context,
                "refused_allocations": peak.refused,
                "where": peak.where,
            }
            for peak in peaks
        ],
        "not_listed": world.num_peaks - len(peaks),
        "snapshots": [{"pid": one.pid, "path": str(one.path)} for one in snapshots],
    }
