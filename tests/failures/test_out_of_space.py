"""Exceptions that mean that a disk or the shared memory is full."""

from __future__ import annotations

import errno

import pytest

from harness.failures.out_of_space import shortage

# torch 2.13 raises this in a loader's worker when /dev/shm is full.
WORKER = """\
Caught RuntimeError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "torch/utils/data/_utils/worker.py", line 374, in _worker_loop
    data = fetcher.fetch(index)
RuntimeError: unable to allocate shared memory(shm) for file </torch_6784_1955280319_2>: \
No space left on device (28)
"""
BUS_ERROR = (
    "DataLoader worker (pid 13) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit."
)


@pytest.mark.parametrize("text", [WORKER, BUS_ERROR], ids=["refused", "bus error"])
def test_full_shared_memory(text: str) -> None:
    """Both of torch's messages about full shared memory lead to the remedy for /dev/shm."""
    assert "docker run --shm-size" in str(shortage(RuntimeError(text)))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/data/cache.bin"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError(
            "[enforce fail at inline_container.cc:603] . PytorchStreamWriter failed: "
            "No space left on device"
        ),
    ],
    ids=["full", "quota", "torch.save"],
)
def test_full_disk(error: BaseException) -> None:
    """A full disk and an exceeded quota are recognized in Python's and in torch's errors."""
    assert "a disk of this machine is full" in str(shortage(error))


def test_semaphores_lie_in_shared_memory() -> None:
    """A semaphore of multiprocessing lies in /dev/shm, which its error does not name."""
    namespace = {"__name__": "multiprocessing.synchronize"}
    source = "def make(): raise OSError(28, 'No space left on device')"
    exec(source, namespace)  # noqa: S102 - it stands for a module of that name
    with pytest.raises(OSError, match="No space") as raised:
        namespace["make"]()  # type: ignore[operator] # it is the function
    assert "docker run --shm-size" in str(shortage(raised.value))


def test_cause_and_context_count() -> None:
    """An error raised from, or during the handling of, an error about space means the same."""
    inner = OSError(errno.ENOSPC, "No space left on device")
    caused, handled = ValueError("no checkpoint"), ValueError("no checkpoint")
    caused.__cause__, handled.__context__ = inner, inner
    assert [True, True] == [shortage(error) is not None for error in (caused, handled)]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ValueError("No space left on device"),
        KeyError("loss"),
    ],
)
def test_others_mean_something_else(error: BaseException) -> None:
    """Errors about memory, and errors of other kinds, are not about space."""
    assert shortage(error) is None
