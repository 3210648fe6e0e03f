"""The outcome and the line of detail of an exception that ended a probe."""

from __future__ import annotations

import pytest
import torch

from harness.errors import MachineError, NoFullBatchError
from harness.failures.explain import explain
from harness.failures.out_of_memory import DeviceMemory


@pytest.mark.parametrize(
    ("error", "accelerator", "outcome", "words"),
    [
        (MemoryError(), "cpu", "oom", "MemoryError"),
        (MemoryError(), "cuda", "error", "the host, not the GPU, is out of memory: MemoryError"),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "cuda",
            "oom",
            "OutOfMemoryError: CUDA out of memory.",
        ),
        (MachineError("2 GiB are free"), "cuda", "machine", "MachineError: 2 GiB are free"),
        (NoFullBatchError("no batch"), "cpu", "dataset", "NoFullBatchError: no batch"),
        (ValueError("shape"), "cuda", "error", "ValueError: shape"),
    ],
)
def test_exceptions_are_put_into_a_probes_words(
    error: BaseException, accelerator: str, outcome: str, words: str
) -> None:
    """The outcome depends on whose memory ran out, and on whether the machine failed."""
    explained = explain(error, None, accelerator)
    assert (outcome, words) == (explained["outcome"], explained["detail"])


def test_full_pinned_memory_is_the_machines_trouble() -> None:
    """CUDA's "out of memory" means pinned memory when the GPU has room."""
    memory = DeviceMemory(num_ooms=0, free_bytes=100 << 30, reserved_bytes=0)
    explained = explain(RuntimeError("CUDA error: out of memory"), memory, "cuda")
    assert (
        "machine",
        (
            "the host could pin no more memory, while the GPU has room: "
            "RuntimeError: CUDA error: out of memory"
        ),
    ) == (explained["outcome"], explained["detail"])
