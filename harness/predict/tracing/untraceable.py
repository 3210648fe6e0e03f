"""Describes what stops a trace: a line or operator whose memory depends on more than shapes."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import torch
from torch._subclasses import fake_tensor

if TYPE_CHECKING:
    from types import FrameType

# Not the user's: what runs the user's code, and what that calls.
_LIBRARIES = (
    "torch.",
    "lightning.",
    "lightning_utilities.",
    "lightning_fabric.",
    "pytorch_lightning.",
    "torchmetrics.",
    "harness.",
)
_STANCE = "fail_on_recompile"
# What torch says where it is asked for a GPU.
_NO_GPU = (
    "not compiled with CUDA",
    "requires CUDA support",
    "no NVIDIA driver",
    "No CUDA GPUs are available",
)
# What it says where a tensor without memory is to become an array.
_NO_ARRAY = "is not supported for tensor subclasses"


class UntraceableTrainingError(Exception):
    """The training's allocations depend on more than the shapes of tensors."""


def refuse_compiled_code() -> None:
    """Make torch raise instead of compiling: compiled code allocates otherwise than traced code."""
    if hasattr(torch.compiler, "set_stance"):  # from torch 2.6 on
        torch.compiler.set_stance(_STANCE)


def why_untraceable(error: BaseException) -> str | None:
    """Return the operator or line that stopped a trace; None if the user's training has failed."""
    if isinstance(error, UntraceableTrainingError):
        return str(error)
    where, text = _line_of(error), str(error)
    if isinstance(error, RuntimeError) and _STANCE in text:
        return (
            f"{where} runs code that torch.compile compiles, which allocates otherwise than its "
            "operators one by one"
        )
    if isinstance(
        error, fake_tensor.DynamicOutputShapeException | fake_tensor.DataDependentOutputException
    ):
        return (
            f"{where}: what {error.func} returns depends on the values of a tensor, and so does "
            "all that follows"
        )
    if isinstance(error, fake_tensor.UnsupportedOperatorException):
        return (
            f"{where}: {error.func} has no rule for tensors without memory "
            "(torch.library.register_fake gives it one)"
        )
    if _NO_ARRAY in text:
        return f"{where} makes an array of a tensor's values: what follows depends on the data"
    return without_gpu(where) if any(words in text for words in _NO_GPU) else None


def without_gpu(where: str) -> str:
    """Return the message for a line that needs a GPU, although a trace's tensors are on the CPU."""
    return (
        f"{where} needs a GPU, and a trace runs without one: take the device from `self.device` or "
        "from a tensor, and ask `torch.cuda.is_available()` before using CUDA"
    )


def _line_of(error: BaseException) -> str:
    """Return file and line of the user's innermost frame in a traceback."""
    found = "training"
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not _is_library(frame):
            found = f"{frame.f_code.co_filename}:{line}"
    return found


def _is_library(frame: FrameType) -> bool:
    return f"{frame.f_globals.get('__name__', '')}.".startswith(_LIBRARIES)
