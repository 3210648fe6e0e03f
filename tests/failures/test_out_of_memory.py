"""Exceptions that mean "out of memory", and whose memory they mean.

`data/cuda_exceptions.json` holds one record for each way in which CUDA and its libraries run out of
memory, or seem to, with the text of its source. Records that no GPU has shown yet have
`seen_on_gpu: false`. The ids of their tests end in "simulated" where torch's own code has raised
the exception on a simulated GPU (`tests/support/recorded_exceptions.py`), and in "unseen" where it
was read from sources. `benchmarks/cuda_session.py --fixtures` replaces both by the exceptions of a
GPU. A SIGKILL leaves no exception: see test_oom_killer.py.
"""

from __future__ import annotations

import errno
import importlib
import json
import mmap
from typing import TYPE_CHECKING, Any

import pytest
import torch
from projects import DATA
from torch._dynamo.exc import BackendCompilerFailed
from torch._utils import ExceptionWrapper

from harness.failures.out_of_memory import DeviceMemory, Kind, classify, device_memory

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDS: list[dict[str, Any]] = json.loads(
    (DATA / "cuda_exceptions.json").read_text(encoding="utf-8")
)
GIB = 1 << 30
ROOMY = DeviceMemory(num_ooms=0, free_bytes=100 * GIB, reserved_bytes=4 * GIB)
SHORT = DeviceMemory(num_ooms=0, free_bytes=GIB // 8, reserved_bytes=100 * GIB)


def rebuild(record: dict[str, Any]) -> BaseException:
    """Make the exception of a record, with its real type."""
    module, _, name = record["type"].rpartition(".")
    kind = getattr(importlib.import_module(module or "builtins"), name)
    error: BaseException = kind(*(record["args"] or [record["message"]]))
    if record["error_code"] is not None:
        error.error_code = record["error_code"]  # type: ignore[attr-defined] # C++ sets it
    return error


def memory(record: dict[str, Any]) -> DeviceMemory:
    """Make the state of the device's memory from a record."""
    return DeviceMemory(record["num_ooms_delta"], record["free_bytes"], record["reserved_bytes"])


def label(record: dict[str, Any]) -> str:
    """Return the id of a record's test."""
    row: str = record["row"]
    if record["seen_on_gpu"]:
        return row
    return row + (" - simulated" if "on a simulated GPU" in record["source"] else " - unseen")


def provoke(function: Callable[[], object]) -> BaseException:
    """Call a function that must fail, and return its exception."""
    with pytest.raises((RuntimeError, MemoryError, OSError)) as caught:
        function()
    return caught.value


@pytest.mark.parametrize("record", RECORDS, ids=label)
def test_recorded_exceptions_are_told_apart(record: dict[str, Any]) -> None:
    """Each recorded exception has its expected kind, given the state of the device's memory."""
    assert record["expected"] == classify(rebuild(record), memory(record))


@pytest.mark.parametrize("record", [record for record in RECORDS if not record["args"]], ids=label)
def test_recorded_texts_are_those_of_the_exceptions(record: dict[str, Any]) -> None:
    """An exception that is rebuilt from its message has the recorded text."""
    assert record["message"] == str(rebuild(record))


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda: torch.empty(1 << 60), "host"),
        (lambda: bytearray(1 << 60), "host"),
        (lambda: mmap.mmap(-1, 1 << 60), "host"),
        (lambda: torch.zeros(2, 3) @ torch.zeros(2, 3), None),
        (lambda: open("/nonexistent", encoding="ascii"), None),  # noqa: PTH123, SIM115 - it raises
    ],
    ids=["torch", "Python", "system call", "shapes", "no such file"],
)
def test_real_failures_on_the_host(function: Callable[[], object], kind: Kind | None) -> None:
    """A real failed allocation is the host's; another real failure is not about memory."""
    assert kind == classify(provoke(function))


@pytest.mark.parametrize(
    "text", ["std::bad_alloc", "could not create a primitive", "can't start new thread"]
)
def test_texts_of_native_code_are_the_hosts(text: str) -> None:
    """A RuntimeError about a failed allocation is recognized by its text; a ValueError is not."""
    assert ("host", None) == (classify(RuntimeError(text)), classify(ValueError(text)))


def test_cuda_code_alone_is_enough() -> None:
    """An AcceleratorError is recognized by its code, whatever its text is."""
    error = rebuild(
        {"type": "torch.AcceleratorError", "args": None, "message": "", "error_code": 2}
    )
    assert ("device", "pinned host") == (classify(error, SHORT), classify(error, ROOMY))


def test_unknown_device_leaves_the_benefit_of_the_doubt() -> None:
    """Without the device's state, "out of memory" means the device, and ambiguous texts None."""
    errors = [
        RuntimeError(text)
        for text in (
            "CUDA error: out of memory",
            "GET was unable to find an engine to execute this computation",
        )
    ]
    assert ["device", None] == [classify(error) for error in errors]


def test_cause_counts_at_any_depth() -> None:
    """An error that was raised from a failed allocation, directly or not, is out of memory."""
    top, middle = RuntimeError("training failed"), ValueError("batch failed")
    top.__cause__, middle.__cause__ = middle, MemoryError()
    assert classify(top) in ("device", "host")


def test_first_in_time_decides() -> None:
    """The first error decides: a crash that follows out of memory is that, and the reverse."""
    crash, failure = (
        RuntimeError("CUDA error: device-side assert triggered"),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
    )
    crash.__cause__ = failure
    assert classify(crash, SHORT) == "device"
    crash.__cause__, failure.__cause__ = None, crash
    assert classify(failure, SHORT) == "spoiled"


def test_context_alone_does_not_count() -> None:
    """An error during the handling of a failed allocation is an error of its own."""
    error = ValueError("the handler is wrong")
    error.__context__ = MemoryError()
    assert classify(error) not in ("device", "host")


def test_cuda_failing_again_in_a_handler_is_the_same_failure() -> None:
    """An error of CUDA's during the handling of a failed allocation repeats that failure."""
    error = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    error.__context__ = torch.cuda.OutOfMemoryError("CUDA out of memory.")
    assert classify(error, ROOMY) == "device"
    error.__suppress_context__ = True
    assert classify(error, ROOMY) is None


def test_compilers_wrap_the_failure() -> None:
    """The error of torch.compile's backend is found inside of the one that replaces it."""
    inner = torch.cuda.OutOfMemoryError(
        "Allocation on device 0 would exceed allowed memory. (out of memory)"
    )
    assert classify(BackendCompilerFailed(print, inner, None)) == "device"


def test_threads_and_workers_hand_on_the_type() -> None:
    """An error that torch re-raises from a loader's process or thread keeps its kind."""
    wrapped = {}
    for where, failure in (
        ("in DataLoader worker process 0", lambda: torch.empty(1 << 60)),
        (
            "in pin memory thread for device 0",
            lambda: pin(torch.AcceleratorError("CUDA error: out of memory")),
        ),
    ):
        try:
            failure()
        except RuntimeError:
            wrapped[where] = ExceptionWrapper(where=where)  # type: ignore[no-untyped-call] # torch
    assert ["host", "pinned host"] == [
        classify(provoke(wrapper.reraise), ROOMY) for wrapper in wrapped.values()
    ]


def pin(error: BaseException) -> None:
    """Raise an error, as pinning memory does."""
    raise error


def test_circular_causes_end() -> None:
    """Exceptions that cause each other are looked at once."""
    one, other = ValueError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert classify(one) not in ("device", "host")


def test_exceptions_that_cannot_be_read_are_not_out_of_memory() -> None:
    """An exception whose message raises is not about memory, and ends nothing."""

    class MuteError(RuntimeError):
        def __str__(self) -> str:
            raise TypeError("no words")

    assert classify(MuteError()) is None


def test_disk_full_is_not_out_of_memory() -> None:
    """The error of a system call counts by its number, and a full disk has another one."""
    assert classify(OSError(errno.ENOSPC, "No space left on device")) is None


def test_nothing_is_known_of_a_device_before_cuda_starts() -> None:
    """Before CUDA starts, reading the device's memory finds nothing, and does not start CUDA."""
    assert device_memory() == DeviceMemory(num_ooms=0, free_bytes=None, reserved_bytes=0)
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call] # untyped in torch
