"""Recognizes the texts of CUDA's libraries that fail for another reason than memory. Pure.

The same texts may mean that memory ran out: `harness.failures.out_of_memory` judges that in the
probe, where the state of the memory is known. Imports no torch: pytest's process reads the failures
of probes with it.
"""

from __future__ import annotations

from typing import Literal

Broken = Literal["library", "kernel"]
"""`library`: one of CUDA's libraries cannot start or allocate. `kernel`: cuDNN has none."""

_LIBRARY = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUFFT_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate",
    "CUSPARSE_STATUS_ALLOC_FAILED",
    "CUDA error: resource allocation failed when calling `cusparse",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
_KERNEL = "unable to find an engine to execute this computation"


def broken_library(detail: str) -> Broken | None:
    """Return what the failure of a probe shows to be broken; None where it shows no such thing.

    detail: the first line of an exception that was not about memory.
    """
    if _KERNEL in detail:
        return "kernel"
    return "library" if any(text in detail for text in _LIBRARY) else None
