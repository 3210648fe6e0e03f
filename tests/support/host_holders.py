"""Finds out in this process what holds the memory of a training on the CPU."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from projects import workload

from harness.predict.holders import PeakHolders
from harness.probe_tasks.holders import holders
from harness.workload.build import build

if TYPE_CHECKING:
    from pathlib import Path

    from harness.protocol.messages import HoldersRequest


def hold(
    tmp_path: Path, module: str, batch_size: int = 32, *, spec: Any = None, **changes: Any
) -> PeakHolders:
    """Return what a probe of two steps finds. `changes` are of its request.

    spec: a workload in place of that of `module`.
    """
    file = tmp_path / "holders.json"
    request: Any = {
        "task": "holders",
        "batch_size": batch_size,
        "steps": 2,
        "validation_steps": 0,
        "file": str(file),
        "snapshot": None,
        "micro_batches": None,
        "bound": {"accelerator": "cpu", "budget_bytes": 1 << 30},
        "trainer": {},
        "workload": None,
    }
    whole: HoldersRequest = request | changes
    result = holders(build(spec or workload(module, None)), whole, lambda _phase: None)
    assert "fits" == result["outcome"], result
    return PeakHolders.read(file)


def by_module(held: PeakHolders, kind: str) -> Counter[str]:
    """Return the bytes of a kind by module."""
    sums: Counter[str] = Counter()
    for holder in held.holders:
        if holder.kind == kind:
            sums[holder.module] += holder.num_bytes
    return sums
