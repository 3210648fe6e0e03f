"""The faults that a world has on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FaultKind = Literal[
    "allocation",
    "mapping",
    "pinned",
    "context",
    "cublas",
    "cublaslt",
    "cudnn",
    "cusolver",
    "launch",
    "engine",
]
"""The calls that can fail, in the order of world.h's `FaultKind`.

allocation: cudaMalloc, cudaMallocAsync and the driver's cuMemCreate; mapping: cuMemMap; pinned:
memory of the host; context: a process's first use of a GPU; cublas, cublaslt, cudnn, cusolver: a
handle of that library; launch: a kernel; engine: cuDNN's search for one, which then finds none.
"""

OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation, and CUDA_ERROR_OUT_OF_MEMORY."""

# After these the context is lost: "the process must be terminated and relaunched" (CUDA runtime
# API, "Error handling", cudaError).
_STICKY = frozenset({214, 220, 700, 702, 710, 714, 715, 716, 717, 718, 719})

NUMBERS = {kind: number for number, kind in enumerate(get_args(FaultKind))}
"""The number of each kind in world.h."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of call that goes wrong, counted over all processes of a world."""

    kind: FaultKind
    code: int = OUT_OF_MEMORY
    """The code of the API that the call belongs to; 0: it succeeds, and only the rest happens."""
    nth: int = 1
    """The first call that fails, counted from 1."""
    times: int = 1
    """How many calls fail; 0: all from there on."""
    gpu: int | None = None
    """The place in the world of the GPU that is meant; None: any."""
    each_process: bool = False
    """Whether every process counts for itself."""
    xid: int = 0
    """The Xid that NVML tells of when it happens."""
    neighbour_bytes: int = 0
    """What a neighbour takes of the GPU's memory when it happens."""

    @property
    def sticky(self) -> bool:
        """Whether all later calls of the process fail with this code, too."""
        return self.kind in {"allocation", "mapping", "pinned", "launch"} and self.code in _STICKY
