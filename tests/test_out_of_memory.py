"""Which exceptions mean that memory ran out."""

from __future__ import annotations

import errno

import pytest
import torch

from harness.out_of_memory import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: tried 64 bytes"
        ),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error)[:20]}",
)
def test_failed_allocations_are_out_of_memory(error: BaseException) -> None:
    """Python's, torch's and the system's failures to allocate are recognised by type, number or text."""
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("std::bad_alloc"),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        KeyError("memory"),
    ],
    ids=["another type with the text", "disk full", "shapes", "key"],
)
def test_other_errors_are_not(error: BaseException) -> None:
    """An error of another kind is not, whatever it talks about."""
    assert not is_out_of_memory(error)


def test_cause_counts_at_any_depth() -> None:
    """What was raised from a failed allocation, directly or not, is out of memory."""
    top, middle = RuntimeError("training failed"), ValueError("batch failed")
    top.__cause__, middle.__cause__ = middle, MemoryError()
    assert is_out_of_memory(top)


def test_context_alone_does_not_count() -> None:
    """An error in the handling of a failed allocation is an error of its own."""
    error = ValueError("the handler is wrong")
    error.__context__ = MemoryError()
    assert not is_out_of_memory(error)


def test_circular_causes_end() -> None:
    """Exceptions that are each other's cause are looked at once."""
    one, other = ValueError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert not is_out_of_memory(one)
