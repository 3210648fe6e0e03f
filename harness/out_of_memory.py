"""Tells an exception that means "out of memory" from any other."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

# Allocation failures on the host that come as a RuntimeError, by the text that torch and its libraries give.
_HOST_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "std::bad_alloc",
    "could not create a memory object",  # oneDNN
    "could not create a primitive",  # oneDNN, which says this also when its scratchpad cannot be had
    "could not execute a primitive",  # oneDNN, likewise: some of its memory is taken only then
    "Unable to mmap",
    "Cannot allocate memory",
    "can't start new thread",  # a thread's stack counts as data
)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether `error`, or what it was raised from, is a failure to get memory."""
    return any(_is_one(link) for link in _chain(error))


def _is_one(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _HOST_MESSAGES)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__
