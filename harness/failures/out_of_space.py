"""Recognizes exceptions that mean "no space left": a full disk, or full shared memory.

A budget bounds neither of them, and neither shows which batch size fits on a machine in order.
"""

from __future__ import annotations

import errno

from harness.failures.exceptions import chain_of, message_of

_NO_SPACE = "No space left on device"
_SHARED_MEMORY_MESSAGES = (
    # torch could not share a tensor, in this process or in a data-loader worker.
    "unable to allocate shared memory(shm)",
    "unable to open shared memory object",
    # A worker died when it wrote to a page for which /dev/shm had no room.
    "insufficient shared memory (shm)",
    "out of shared memory",
)
_FULL_SHARED_MEMORY = (
    "the shared memory of this machine is used up: data-loader workers pass their batches through "
    "/dev/shm. Make it larger (docker run --shm-size; in Kubernetes, an emptyDir of medium "
    "Memory), or set num_workers to 0"
)
_FULL_DISK = (
    "a disk of this machine is full: make room where the training or this run writes its files"
)


def shortage(error: BaseException) -> str | None:
    """Return the shortage and its remedy in words, if `error` or one behind it means a shortage.

    The errors behind it are those that it was raised from or during. None without a shortage.
    """
    links = chain_of(error, lambda link: link.__cause__ or link.__context__)
    return next((found for link in links if (found := _shortage(link)) is not None), None)


def shortage_in(text: str) -> str | None:
    """Return the shortage and its remedy in words, if an exception's text or an output shows one.

    The output of a dead process counts, because a worker that cannot put a finished batch into
    shared memory raises nothing: it prints a traceback and goes on, and its loader waits for that
    batch for ever.
    """
    if any(message in text for message in _SHARED_MEMORY_MESSAGES):
        return _FULL_SHARED_MEMORY
    return _FULL_DISK if _NO_SPACE in text else None


def _shortage(error: BaseException) -> str | None:
    if not isinstance(error, (OSError, RuntimeError)):
        return None
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return _FULL_SHARED_MEMORY if _in_multiprocessing(error) else _FULL_DISK
    return shortage_in(message_of(error))


def _in_multiprocessing(error: BaseException) -> bool:
    """Return whether `multiprocessing` raised the error.

    Its semaphores lie in /dev/shm, and its error names no file.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(
        "multiprocessing."
    )
