"""The entries below `gpus` for what a machine has."""

from __future__ import annotations

import pytest

from harness.devices.nvml.gpu import Gpu
from harness.starting.machine import of_cpu, of_gpus

GIB = 1 << 30


def gpu(name: str, memory: int = 80) -> Gpu:
    """Return a GPU."""
    return Gpu(name, memory * GIB, "GPU-1", "1")


def test_each_kind_of_gpu_has_an_entry() -> None:
    """Two of one kind are one entry; those of one name with other memory are told apart by it."""
    machine = of_gpus(
        [gpu("NVIDIA H200"), gpu("NVIDIA H200"), gpu("NVIDIA A1", 40), gpu("NVIDIA A1")]
    )
    assert {
        "h200": {"name": "NVIDIA H200"},
        "a1-40960MiB": {"name": "NVIDIA A1", "memory": "40960MiB"},
        "a1-81920MiB": {"name": "NVIDIA A1", "memory": "81920MiB"},
    } == machine.gpus


@pytest.mark.parametrize(
    ("available", "budget"),
    [(None, "1GiB"), (64 * GIB, "1GiB"), (3 * GIB, "512MiB"), (0, "64MiB")],
)
def test_budget_leaves_memory_for_all_else(available: int | None, budget: str) -> None:
    """It is at most a quarter of what is free, and no more than a first try needs."""
    expected = {f"cpu-{budget}": {"accelerator": "cpu", "budget": budget}}
    assert expected == of_cpu(available, "no GPU").gpus
