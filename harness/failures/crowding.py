"""Blames the machine where other processes have taken the memory that ran out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.failures.out_of_memory import DeviceMemory
    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.protocol.messages import Failure


def blamed(failure: Failure, bound: MemoryBound, memory: DeviceMemory | None) -> Failure:
    """Return the failure; one of the machine if others left less than the bound's limit.

    memory: the device's, as it was when the failure came up; None if nothing was read then.
    """
    if failure["outcome"] != "oom" or memory is None:
        return failure
    crowded = bound.crowded_out(memory.free_bytes, memory.reserved_bytes)
    return failure if crowded is None else {**failure, "outcome": "machine", "detail": crowded}
