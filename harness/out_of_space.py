"""Tells an exception that means "no space left" from any other: a full disk, or shared memory that is used up.

Neither is memory that a budget bounds, and neither says anything about a batch size on a machine that is in order.
"""

from __future__ import annotations

import errno

_NO_SPACE = "No space left on device"
# What torch says, in the process itself or through the words of a data-loader worker, when it cannot share a tensor,
_SHARED_MEMORY_MESSAGES = (
    "unable to allocate shared memory(shm)",
    "unable to open shared memory object",
    # or when a worker died as it wrote to a page that /dev/shm no longer had.
    "insufficient shared memory (shm)",
    "out of shared memory",
)
_FULL_SHARED_MEMORY = (
    "the shared memory of this machine is used up: data-loader workers hand their batches over in /dev/shm; make it "
    "larger (docker run --shm-size, an emptyDir of medium Memory in Kubernetes), or set num_workers to 0"
)
_FULL_DISK = (
    "a disk of this machine is full: make room where the training, or this run's results, are written"
)


def shortage(error: BaseException) -> str | None:
    """Say what is used up, and what to do, when `error` or what it was raised from or during means that; else None."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if (found := _shortage(link)) is not None:
            return found
        link = link.__cause__ or link.__context__
    return None


def shortage_in(text: str) -> str | None:
    """Say what is used up, and what to do, when the words of an exception, or of a process that died, mean that.

    A worker that cannot put a finished batch into shared memory prints a traceback and goes on: its loader waits for
    that batch for ever.
    """
    if any(message in text for message in _SHARED_MEMORY_MESSAGES):
        return _FULL_SHARED_MEMORY
    return _FULL_DISK if _NO_SPACE in text else None


def _shortage(error: BaseException) -> str | None:
    if not isinstance(error, (OSError, RuntimeError)):
        return None
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return _FULL_SHARED_MEMORY if _in_multiprocessing(error) else _FULL_DISK
    return shortage_in(_text(error))


def _in_multiprocessing(error: BaseException) -> bool:
    """Say whether the standard library raised it: its semaphores lie in /dev/shm, and its error names no file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("multiprocessing.")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return ""
