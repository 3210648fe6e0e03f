"""Tells an exception that means "out of memory" from any other, and whose memory it was.

Texts and types are those of torch 2.4 to 2.13 and the libraries below it, as `tests/fixtures/cuda_exceptions.json`
records them with their sources. Some of them also mean something else: what the process knows of its device decides.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["device", "host", "pinned host", "context", "spoiled"]
"""What an exception says of memory.

`device`: the device's ran out. `host`: the host's did. `pinned host`: the host could pin no more, whatever the device
has. `context`: CUDA itself found no room on the device, before anything was allocated. `spoiled`: no memory ran out,
but CUDA has failed for good in this process, and whatever it says from now on is that failure again.
"""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """What a process knows of its device's memory when an exception comes up."""

    num_ooms: int
    """Failures of torch's allocator in this process, also those that a library met and worked around."""
    free_bytes: int | None
    """Free on the device; None when CUDA was never started, or cannot say any more."""
    reserved_bytes: int
    """Held by torch's allocator."""


# Free memory from which on no library's failure to get some was the device's: outside of torch's allocator, handles,
# workspaces and kernels take less than this at a time.
_PLENTY_BYTES = 1 << 30

# cudaErrorMemoryAllocation.
_OUT_OF_MEMORY_CODE = 2
# What torch raises when its own allocator is at the limit: the type apart, these are accidents on the way to it.
_ALLOCATOR_MESSAGES = (
    ("CUDA out of memory.",),  # in the text of an error that was made of another one
    ("NVML_SUCCESS == ", "INTERNAL ASSERT FAILED", "CUDACachingAllocator"),  # asked who else uses the device
    ("!handles_.at(i) INTERNAL ASSERT FAILED",),  # an expandable segment that failed half-way before
)
# What those say who get memory past torch's allocator.
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
# cuDNN has tried its plans one by one, and torch has kept to itself why none of them ran.
_ENGINE_MESSAGES = (("unable to find an engine to execute this computation",),)
# A library that cannot start says so in these words, for want of memory or for another reason.
_HANDLE_MESSAGES = (
    ("CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",),
    ("CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate",),
    ("CUDNN_STATUS_NOT_INITIALIZED",),
)
# CUDA's errors after which, by its documentation, the process has to be started anew.
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
# Allocation failures on the host that come as a RuntimeError, by the text that torch and its libraries give.
_HOST_MESSAGES = tuple(
    (text,)
    for text in (
        "DefaultCPUAllocator: can't allocate memory",
        "DefaultCPUAllocator: not enough memory",
        "std::bad_alloc",
        "could not create a memory object",  # oneDNN
        "could not create a primitive",  # oneDNN, which says this also when its scratchpad cannot be had
        "could not execute a primitive",  # oneDNN, likewise: some of its memory is taken only then
        "Unable to mmap",
        "Cannot allocate memory",
        "can't start new thread",  # a thread's stack counts as data
        "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    )
)
# What an error of CUDA or of a library on top of it begins with, or holds.
_CUDA_MESSAGES = (
    ("CUDA error",),
    ("CUDA driver error",),
    ("cuDNN error",),
    ("cusolver error",),
    ("Cuda failure",),
)


def is_out_of_memory(error: BaseException, device: DeviceMemory | None = None) -> bool:
    """Say whether `error`, or what it was raised from, is a failure to get memory for the training itself."""
    return classify(error, device) in ("device", "host")


def classify(error: BaseException, device: DeviceMemory | None = None) -> Kind | None:
    """Say what `error`, or what it was raised from, says of memory; None: nothing.

    `device` is what `device_memory` returned when the error came up; without it, CUDA's "out of memory" is taken to be
    the device's, and what only the state of the device can tell is taken for another error. Of several errors in a
    chain the first in time decides.
    """
    kinds = [kind for link in _chain(error) if (kind := _kind(link, device)) is not None]
    return kinds[-1] if kinds else None


def device_memory() -> DeviceMemory:
    """Read what this process knows of the memory of its first device; starts no CUDA, and raises nothing.

    To be called before the error's frames are left behind, as what they hold is freed with them.
    """
    stats: dict[str, Any] = {}
    free = None
    with suppress(RuntimeError):
        # Torch's own books, which need no CUDA: empty when it was never started, readable when it has failed for good.
        stats = torch.cuda.memory_stats(0)
        if stats:
            free, _ = torch.cuda.mem_get_info(0)
    return DeviceMemory(
        # What `throw_on_cudamalloc_oom` forbids beforehand is counted apart.
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
    text = _text(error)
    code = getattr(error, "error_code", None)  # of torch.AcceleratorError, since torch 2.8
    if code == _OUT_OF_MEMORY_CODE or _says(text, _LIBRARY_MESSAGES):
        return _past_the_allocator(text, code, device)
    if _says(text, _ALLOCATOR_MESSAGES) or _for_want_of_memory(text, device):
        return "device"
    if code in _SPOILING_CODES or _says(text, _SPOILING_MESSAGES):
        return "spoiled"
    return "host" if _says(text, _HOST_MESSAGES) else None


def _past_the_allocator(text: str, code: int | None, device: DeviceMemory | None) -> Kind | None:
    """Say whose memory ran out when somebody else than torch's allocator for the device could get none."""
    # CUDA's own code stands for pinned memory and for its context just as well as for the device's memory.
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
    """Say whether an error that may have other causes was met while memory was known to be short."""
    if device is None:
        return False
    if _says(text, _ENGINE_MESSAGES):
        return device.num_ooms > 0
    short = device.free_bytes is not None and device.free_bytes < _PLENTY_BYTES
    return short and _says(text, _HANDLE_MESSAGES)


def _says(text: str, messages: tuple[tuple[str, ...], ...]) -> bool:
    """Say whether `text` holds all parts of one of the messages."""
    return any(all(part in text for part in parts) for parts in messages)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what it was raised from, the first in time last."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = _origin(link)


def _origin(error: BaseException) -> BaseException | None:
    """Return what `error` was raised from.

    An error in the handling of a failed allocation is an error of its own, unless it is CUDA's: tearing down what has
    just failed, CUDA fails again.
    """
    # torch.compile raises the backend's error anew, and cuts the chain.
    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, BaseException):
        return inner
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    is_cuda = hasattr(error, "error_code") or _says(_text(error), _CUDA_MESSAGES)
    return error.__context__ if isinstance(error, RuntimeError) and is_cuda else None
