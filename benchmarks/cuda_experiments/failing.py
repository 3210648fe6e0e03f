"""The child side of experiment 3: runs out of memory in each known way, and records the exception.

A row whose name begins with "host" fails on any machine; the others need a GPU.
"""

from __future__ import annotations

import importlib
import json
import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.grad import conv2d_weight

from harness.failures.out_of_memory import DeviceMemory, classify, device_memory
from harness.simulated.mark import is_simulated

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 1 << 30
NO_CONTEXT = "other CUDA call, the context does not fit"
"""The row that needs another process to fill the device."""
_KEPT: list[torch.Tensor] = []
# The failures by which `fill` notices that the device is full: they are no row's own.
_FILLING = {"num_ooms": 0}
# Triton's language, which a kernel looks up among the globals of its module.
tl: Any = None


def fill(leave_bytes: int = 0) -> None:
    """Take all memory that torch's allocator gets, then free about `leave_bytes` of it."""
    size = GIB
    while size >= 1 << 21:
        try:
            _KEPT.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.cuda.OutOfMemoryError:
            _FILLING["num_ooms"] += 1
            size //= 2
    given = 0
    while _KEPT and given < leave_bytes:
        given += _KEPT.pop().numel()
    torch.cuda.empty_cache()


def too_much() -> None:
    """Allocate twice the memory of the device."""
    torch.empty(2 * torch.cuda.mem_get_info(0)[1], dtype=torch.uint8, device="cuda")


class _Greedy(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(_context: Any, *_: torch.Tensor) -> torch.Tensor:
        too_much()
        raise AssertionError("there was room for twice the device")


def _backward() -> None:
    ones = torch.ones(2, device="cuda", requires_grad=True)
    _Greedy.apply(ones).sum().backward()  # type: ignore[no-untyped-call]


def _full(operation: Callable[[], object]) -> Callable[[], None]:
    """Return a function that fills the device by torch's allocator, and runs an operation."""

    def fail() -> None:
        fill()
        operation()
        torch.cuda.synchronize()

    return fail


def _after(
    prepare: Callable[[], torch.Tensor], operation: Callable[[torch.Tensor], object]
) -> Callable[[], None]:
    """Return a function that prepares an operand, fills the device, and runs an operation."""

    def fail() -> None:
        operand = prepare()
        fill()
        operation(operand)
        torch.cuda.synchronize()

    return fail


def _convolve(*, benchmark: bool) -> None:
    """Leave less and less room for the workspace of a convolution whose result is small."""
    torch.backends.cudnn.benchmark = benchmark
    images = torch.rand(64, 256, 56, 56, device="cuda")
    gradient = torch.rand(64, 256, 56, 56, device="cuda")
    for leave in (1024, 512, 256, 128, 64, 32, 16, 8, 4):
        _KEPT.clear()
        torch.cuda.empty_cache()
        fill(leave << 20)
        shape = (256, 256, 3, 3)
        conv2d_weight(images, shape, gradient, padding=1)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def _convolve_unsupported() -> None:
    images = torch.zeros(2, 16, 8, 8, device="cuda").to(torch.float8_e4m3fn)
    weights = torch.zeros(16, 16, 3, 3, device="cuda").to(torch.float8_e4m3fn)
    torch.nn.functional.conv2d(images, weights)


def _assert_on_device() -> None:
    torch.zeros(4, device="cuda")[torch.tensor([1 << 20], device="cuda")].sum().item()


def _reach_too_far() -> None:
    triton = importlib.import_module("triton")  # comes with torch's CUDA builds
    globals()["tl"] = importlib.import_module("triton.language")

    # Triton compiles it, and Python never runs it.
    @triton.jit
    def kernel(pointer, distance):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        tl.store(pointer + distance, 1.0)

    kernel[(1,)](torch.zeros(4, device="cuda"), 1 << 44)
    torch.cuda.synchronize()


ON_THE_HOST: dict[str, Callable[[], object]] = {
    "host, an allocation of torch's": lambda: torch.empty(1 << 50, dtype=torch.uint8),
    "host, an allocation of Python's": lambda: bytearray(1 << 60),
    "host, a system call's": lambda: mmap.mmap(-1, 1 << 60),
}
AT_THE_LIMIT: dict[str, Callable[[], object]] = {
    "caching allocator, at the fraction": too_much,
    "caching allocator, at the fraction, in the backward thread": _backward,
    "caching allocator, cudaMallocAsync": too_much,
    "expandable segments, at the fraction": too_much,
    "NVML broken, cannot be initialised": too_much,
    "other CUDA call, pinned host memory": lambda: torch.empty(
        1 << 45, dtype=torch.uint8, pin_memory=True
    ),
    "cuDNN, no plan had room": lambda: _convolve(benchmark=False),
    "cuDNN benchmark, no plan had room": lambda: _convolve(benchmark=True),
    "cuDNN, no plan for the dtype": _convolve_unsupported,
    "never: device-side assert": _assert_on_device,
    "never: illegal memory access": _reach_too_far,
}
"""Rows that run under a fraction of the device."""
ON_A_FULL_DEVICE: dict[str, Callable[[], object]] = {
    "caching allocator, the device is full": _full(too_much),
    "expandable segments, the driver": _full(too_much),
    NO_CONTEXT: lambda: torch.zeros(1, device="cuda"),
    "other CUDA call, the device is full": _after(
        lambda: torch.rand(8, device="cuda"), torch.special.airy_ai
    ),
    "cuBLAS, handle": _after(
        lambda: torch.eye(64, device="cuda"), lambda operand: operand @ operand
    ),
    "cuFFT": _after(lambda: torch.rand(10007, device="cuda"), torch.fft.fft),
    "cuSOLVER": _after(lambda: torch.eye(64, device="cuda"), torch.linalg.eigvalsh),
    "cuSPARSE": _after(
        lambda: torch.eye(64, device="cuda").to_sparse_csr(),
        lambda operand: operand @ operand.to_dense(),
    ),
    "cuDNN, its own allocation": _after(
        lambda: torch.rand(1, 3, 16, 16, device="cuda"),
        lambda operand: torch.nn.functional.conv2d(operand, operand),
    ),
}
"""Rows that run on a device without free memory."""
ROWS = ON_THE_HOST | AT_THE_LIMIT | ON_A_FULL_DEVICE
ENVIRONMENTS = {
    "caching allocator, cudaMallocAsync": {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"},
    "expandable segments, at the fraction": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
    "expandable segments, the driver": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
}
"""The environment variables of rows."""


def rows() -> dict[str, dict[str, Any]]:
    """Return the rows in their order: the variables that each needs, and who fills the device."""
    return {
        row: {"variables": ENVIRONMENTS.get(row, {}), "filled_by_another": row == NO_CONTEXT}
        for row in ROWS
    }


def fail(*, row: str, budget_bytes: int, seen_on_gpu: bool) -> dict[str, Any]:
    """Run out of memory in the way of a row; return a record in the form of the tests' fixtures.

    budget_bytes: what rows that run under a fraction may reserve.
    seen_on_gpu: whether this machine has a real GPU.

    The value of `record` is None when nothing failed.
    """
    if row in AT_THE_LIMIT:
        torch.cuda.set_per_process_memory_fraction(budget_bytes / torch.cuda.mem_get_info(0)[1], 0)
    return provoked(row, ROWS[row], seen_on_gpu=seen_on_gpu)


def provoked(row: str, function: Callable[[], object], *, seen_on_gpu: bool) -> dict[str, Any]:
    """Call a function that is to fail in the way of a row; return as `fail` does."""
    before = device_memory().num_ooms - _FILLING["num_ooms"]
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - any error is an answer
        now = device_memory()
        own = now.num_ooms - _FILLING["num_ooms"] - before
        known = DeviceMemory(own, now.free_bytes, now.reserved_bytes)
        return {
            "record": record(row, error, known, seen_on_gpu=seen_on_gpu),
            "usable afterwards": _usable(row),
        }
    return {"record": None}


def record(
    row: str, error: BaseException, known: DeviceMemory, *, seen_on_gpu: bool
) -> dict[str, Any]:
    """Return the record of an exception, in the form of the fixtures."""
    kind = type(error)
    message = str(error)
    given: list[Any] | None = [*error.args]
    with suppress(TypeError):
        if json.dumps(given) == json.dumps([message]) or not given:
            given = None
    return {
        "row": row,
        "type": kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}",
        "message": message,
        "error_code": getattr(error, "error_code", None),
        "args": given,
        "num_ooms_delta": known.num_ooms,
        "free_bytes": known.free_bytes,
        "reserved_bytes": known.reserved_bytes,
        "expected": classify(error, known),
        "source": f"seen on {_place(seen_on_gpu=seen_on_gpu)}, torch {torch.__version__}",
        "seen_on_gpu": seen_on_gpu,
    }


def _place(*, seen_on_gpu: bool) -> str:
    """Return the name of the device, or `a GPU` where the process has no context."""
    if is_simulated():
        return "a simulated GPU"
    with suppress(RuntimeError):
        return torch.cuda.get_device_name(0) if seen_on_gpu else "a CPU"
    return "a GPU"


def _usable(row: str) -> bool:
    """Return whether the process can still compute after it has freed the device."""
    _KEPT.clear()
    device = "cpu" if row in ON_THE_HOST else "cuda"
    try:
        if device == "cuda":
            torch.cuda.empty_cache()
        ones = torch.ones(16, device=device).sum()
        return is_simulated() or bool(ones.item() == 16)
    except Exception:  # noqa: BLE001 - any error means no
        return False
