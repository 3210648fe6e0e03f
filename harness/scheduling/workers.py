"""Decides how many workers `-n auto` starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.devices.host_memory import available_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

BESIDE_BUDGET_BYTES = 1 << 30
"""What a case on the CPU takes beside its budget, for each rank: a worker, a zygote, a probe."""
PREDICTION_BYTES = 2 << 30
"""What a prediction takes: torch's CUDA build, and a network whose storage is not touched."""


def num_workers(num_gpus: int, on_gpus: int, host_bytes: Sequence[int]) -> int:
    """Return the number of workers: at least 1, and never more than cases.

    Cases on GPUs decide where there are any: their workers run the others as well, and more of
    these beside them would take cores from their data loaders. Without them it is as many as the
    cores and the memory of the host allow.

    num_gpus: how many GPUs cases can run on.
    on_gpus: how many cases can run on GPUs at the same time; more than GPUs where they share.
    host_bytes: what each case takes of the host's memory, where none runs on a GPU.
    """
    cores = len(os.sched_getaffinity(0))
    if on_gpus:
        return min(on_gpus, max(num_gpus, cores))
    available, _ = available_memory()
    left = float("inf") if available is None else available
    fitting = 0
    for wanted in sorted(host_bytes, reverse=True):
        left -= wanted
        fitting += left >= 0
    return max(1, min(cores, fitting))
