"""Recognizes exceptions that mean "out of memory", and whose memory ran out.

Texts and types are those of torch 2.4 to 2.13 and the libraries below it, as
`tests/data/cuda_exceptions.json` records them with their sources. Some of them may mean something
else: then the state of the device's memory decides.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch

from harness.failures.exceptions import chain_of, message_of

Kind = Literal["device", "host", "pinned host", "context", "spoiled"]
"""The memory that an exception is about.

`device`: the device's memory ran out. `host`: the host's did. `pinned host`: the host could pin no
more memory, even if the device has some. `context`: CUDA itself found no room on the device, before
anything was allocated. `spoiled`: no memory ran out, but CUDA has failed for good in this process,
and every later error of CUDA repeats that failure.
"""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """The state of a device's memory, as its process reads it when an exception comes up."""

    num_ooms: int
    """Failures of torch's allocator in this process, also those that a library worked around."""
    free_bytes: int | None
    """Free on the device; None when CUDA was never started, or has failed for good."""
    reserved_bytes: int
    """Held by torch's allocator."""


# With this much free memory, a library's failed allocation was not for lack of the device's memory:
# outside of torch's allocator, handles, workspaces and kernels take less than this at a time.
_PLENTY_BYTES = 1 << 30

# cudaErrorMemoryAllocation.
_OUT_OF_MEMORY_CODE = 2
# torch raises these when its own allocator is at the limit, if not an OutOfMemoryError. The first
# is in the text of an error that was made of another one. In the second, torch failed to ask NVML
# who else uses the device. In the third, an expandable segment had failed half-way before.
_ALLOCATOR_MESSAGES = (
    ("CUDA out of memory.",),
    ("NVML_SUCCESS == ", "INTERNAL ASSERT FAILED", "CUDACachingAllocator"),
    ("!handles_.at(i) INTERNAL ASSERT FAILED",),
)
# The messages of libraries that allocate past torch's allocator.
_LIBRARY_MESSAGES = (
    ("CUDA error: out of memory",),
    ("CUDA driver error: out of memory",),
    ("Triton Error [CUDA]: out of memory",),
    ("Cuda failure", "'out of memory'"),  # NCCL
    ("CUBLAS_STATUS_ALLOC_FAILED",),
    ("CUFFT_ALLOC_FAILED",),
    ("CUSOLVER_STATUS_ALLOC_FAILED",),
    ("CUSPARSE_STATUS_ALLOC_FAILED",),
    ("CUDA error: resource allocation failed when calling",),  # cuSPARSE, in its own words
    ("CUDNN_STATUS_ALLOC_FAILED",),
    ("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",),
)
# cuDNN has tried its plans one by one, and torch does not report why each of them failed.
_ENGINE_MESSAGES = (("unable to find an engine to execute this computation",),)
# These may have a cause other than memory. A library could not start. Or, under cudnn.benchmark,
# torch did not even try the plans whose workspace is larger than the free memory.
_AMBIGUOUS_MESSAGES = (
    ("FIND was unable to find an engine to execute this computation",),
    ("CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",),
    ("CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate",),
    ("CUDNN_STATUS_NOT_INITIALIZED",),
)
# By CUDA's documentation, a process must be started anew after these errors.
_SPOILING_CODES = (214, 220, 700, 702, 710, 714, 715, 716, 717, 718, 719)
_SPOILING_MESSAGES = tuple(
    ("CUDA", text)
    for text in (
        "uncorrectable ECC error encountered",
        "uncorrectable NVLink error detected",
        "an illegal memory access was encountered",
        "the launch timed out and was terminated",
        "device-side assert triggered",
        "hardware stack error",
        "an illegal instruction was encountered",
        "misaligned address",
        "operation not supported on global/shared address space",
        "invalid program counter",
        "unspecified launch failure",
    )
)
# Allocation failures on the host that torch and its libraries raise as a RuntimeError.
_HOST_MESSAGES = tuple(
    (text,)
    for text in (
        "DefaultCPUAllocator: can't allocate memory",
        "DefaultCPUAllocator: not enough memory",
        "std::bad_alloc",
        "could not create a memory object",  # oneDNN
        "could not create a primitive",  # oneDNN, also when it cannot allocate its scratchpad
        "could not execute a primitive",  # oneDNN, which allocates some of its memory only then
        "Unable to mmap",
        "Cannot allocate memory",
        "can't start new thread",  # a thread's stack counts as data
        "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    )
)
# The texts of errors of CUDA, and of libraries on top of it, begin with these or contain them.
_CUDA_MESSAGES = (
    ("CUDA error",),
    ("CUDA driver error",),
    ("cuDNN error",),
    ("cusolver error",),
    ("Cuda failure",),
)


def classify(error: BaseException, device: DeviceMemory | None = None) -> Kind | None:
    """Return the memory that `error`, or an error it was raised from, is about; None for no memory.

    `device` is what `device_memory` returned when the error came up. Without it, CUDA's "out of
    memory" counts as the device's, and an error that only the device's state could explain counts
    as None. Of several errors in a chain the first in time decides.
    """
    kinds = [kind for link in chain_of(error, _origin) if (kind := _kind(link, device)) is not None]
    return kinds[-1] if kinds else None


def device_memory() -> DeviceMemory:
    """Read the state of the current device's memory; starts no CUDA, and raises nothing.

    Call it while the error's frames exist: the memory that they hold is freed with them.
    """
    stats: dict[str, Any] = {}
    free = None
    with suppress(RuntimeError):
        # torch keeps these figures without CUDA: they are empty when CUDA was never started, and
        # still readable when it has failed for good.
        stats = torch.cuda.memory_stats()
        if stats:
            free, _ = torch.cuda.mem_get_info()
    return DeviceMemory(
        # Allocations that `throw_on_cudamalloc_oom` refuses beforehand have a count of their own.
        num_ooms=int(stats.get("num_ooms", 0)) + int(stats.get("num_oom_rejections", 0)),
        free_bytes=free,
        reserved_bytes=int(stats.get("reserved_bytes.all.current", 0)),
    )


def _kind(error: BaseException, device: DeviceMemory | None) -> Kind | None:
    if isinstance(error, MemoryError):
        return "host"
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "device"
    if isinstance(error, OSError):
        return "host" if error.errno == errno.ENOMEM else None
    return _kind_by_text(error, device) if isinstance(error, RuntimeError) else None


def _kind_by_text(error: RuntimeError, device: DeviceMemory | None) -> Kind | None:
    text = message_of(error)
    code = getattr(error, "error_code", None)  # of torch.AcceleratorError, since torch 2.8
    if code == _OUT_OF_MEMORY_CODE or _says(text, _LIBRARY_MESSAGES):
        return _past_the_allocator(text, code, device)
    if _says(text, _ALLOCATOR_MESSAGES) or _for_want_of_memory(text, device):
        return "device"
    if code in _SPOILING_CODES or _says(text, _SPOILING_MESSAGES):
        return "spoiled"
    return "host" if _says(text, _HOST_MESSAGES) else None


def _past_the_allocator(text: str, code: int | None, device: DeviceMemory | None) -> Kind | None:
    """Return whose memory ran out when an allocation past torch's allocator failed."""
    # CUDA's own code means the device's memory, pinned memory, or the context.
    unspecific = code == _OUT_OF_MEMORY_CODE or "CUDA error: out of memory" in text
    if unspecific and "in pin memory thread" in text:
        return "pinned host"
    if device is None:
        return "device"
    if device.free_bytes is None and device.reserved_bytes == 0:
        return "context"
    if device.free_bytes is None or device.free_bytes < _PLENTY_BYTES:
        return "device"
    return "pinned host" if unspecific else None


def _for_want_of_memory(text: str, device: DeviceMemory | None) -> bool:
    """Return whether an ambiguous error came up while the device's memory was short."""
    if device is None:
        return False
    if _says(text, _ENGINE_MESSAGES) and device.num_ooms > 0:
        return True
    short = device.free_bytes is not None and device.free_bytes < _PLENTY_BYTES
    return short and _says(text, _AMBIGUOUS_MESSAGES)


def _says(text: str, messages: tuple[tuple[str, ...], ...]) -> bool:
    """Return whether `text` contains all parts of one of the messages."""
    return any(all(part in text for part in parts) for parts in messages)


def _origin(error: BaseException) -> BaseException | None:
    """Return the error that `error` was raised from.

    An error during the handling of another one is an error of its own, unless it is CUDA's: in the
    teardown after a failed allocation CUDA fails again.
    """
    # torch.compile raises the backend's error anew, without the chain.
    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, BaseException):
        return inner
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    is_cuda = hasattr(error, "error_code") or _says(message_of(error), _CUDA_MESSAGES)
    return error.__context__ if isinstance(error, RuntimeError) and is_cuda else None
