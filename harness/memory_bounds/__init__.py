"""The limit on a probe's memory, as the probe enforces and reads it.

Runs in probes, and imports torch once a bound is in use. Imports nothing of pytest's process:
every module that is loaded lies in the heap whose size is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.memory_bounds.cuda import CudaBound
from harness.memory_bounds.host import HostBound

if TYPE_CHECKING:
    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.protocol.case import BoundSpec

__all__ = ["CudaBound", "HostBound", "make_bound", "no_bound"]


def make_bound(spec: BoundSpec) -> MemoryBound:
    """Make the memory bound that a device's `bound` describes."""
    place = spec.get("place")
    if spec["accelerator"] == "cuda":
        return CudaBound(
            spec["budget_bytes"], spec["fraction"], place, claim_bytes=spec.get("claim_bytes")
        )
    if place is None:
        return HostBound(spec["budget_bytes"])
    # On the CPU each module counts in the memory, so other probes do not import it.
    from harness.memory_bounds.rank_on_host import RankOnHost  # noqa: PLC0415

    return RankOnHost(spec["budget_bytes"], place)


def no_bound() -> MemoryBound:
    """Return the bound of a fit on the CPU that is set up and never limited."""
    return HostBound(0)
