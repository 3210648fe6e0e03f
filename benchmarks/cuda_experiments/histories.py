"""The child side of experiment 7: records the history of torch's allocator over three steps.

The simulation of the allocator replays it.
"""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from cuda_experiments.training import fit
from harness.workload import build as workloads

if TYPE_CHECKING:
    from harness.protocol import BoundSpec, WorkloadSpec

_MAX_ENTRIES = 400_000
_ACTIONS = (
    "alloc",
    "free_requested",
    "free_completed",
    "segment_alloc",
    "segment_free",
    "segment_map",
    "segment_unmap",
    "oom",
    "snapshot",
)


def record(
    *,
    cuda: bool,
    spec: WorkloadSpec,
    bound: BoundSpec,
    batch_size: int,
    archive: str,
    entry: str,
) -> dict[str, Any]:
    """Train three steps with the allocator's history on, and append the history to the archive.

    Its entries are [action, address, size, stream].
    """
    assert cuda, "only torch's allocator for CUDA keeps a history"
    built = workloads.build(spec)
    # Only allocators that exist already keep a history.
    torch.cuda.init()  # type: ignore[no-untyped-call]
    # torch has no public name for its history.
    memory = torch.cuda.memory
    memory._record_memory_history("all", context=None, max_entries=_MAX_ENTRIES)  # noqa: SLF001
    steps = fit(built, bound, {}, batch_size, num_steps=3, validation=False)
    snapshot = memory._snapshot()  # noqa: SLF001
    entries = [
        [_ACTIONS.index(event["action"]), event.get("addr", 0), event["size"], event["stream"]]
        for event in snapshot["device_traces"][0]
        if event["action"] in _ACTIONS
    ]
    text = json.dumps({"actions": _ACTIONS, "entries": entries}, separators=(",", ":"))
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as target:
        target.writestr(f"{entry}.json", text)
    return {
        "entries": len(entries),
        "complete": len(entries) < _MAX_ENTRIES,
        "bytes": len(text),
        "segments": len(snapshot["segments"]),
        "reserved_bytes": sum(segment["total_size"] for segment in snapshot["segments"]),
        "steps": steps["steps"],
    }
