"""Tells which rank a process of a program is, and which GPU it has."""

from __future__ import annotations

import os
from typing import Any

from harness.memory_bounds.cuda import fraction_for


def rank_of_this_process(torch: Any) -> int | None:
    """Return the rank of this process, by torch or else by what its launcher has set; or None."""
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    return _number("RANK")


def local_rank(torch: Any) -> int:
    """Return the GPU that a rank takes by convention; 0 where no launcher tells."""
    local = _number("LOCAL_RANK")
    return local if local is not None and local < torch.cuda.device_count() else 0


def most_used_gpu(torch: Any, otherwise: int) -> int:
    """Return the GPU on which this process has the most memory."""
    number = torch.cuda.device_count()
    reserved = [int(torch.cuda.max_memory_reserved(index)) for index in range(number)]
    if not any(reserved):
        return otherwise
    return max(range(number), key=lambda index: (reserved[index], index == otherwise))


def limit_all_gpus(torch: Any, limit_bytes: int) -> None:
    """Limit this process on each GPU that it sees: a program may number them by itself."""
    for index in range(torch.cuda.device_count()):
        total = int(torch.cuda.get_device_properties(index).total_memory)
        torch.cuda.set_per_process_memory_fraction(fraction_for(limit_bytes, total), index)


def _number(name: str) -> int | None:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() and len(value) < 7 else None  # noqa: PLR2004 - a rank
