"""The number of workers of `-n auto`."""

from __future__ import annotations

import os

import pytest

from harness.scheduling.workers import num_workers

CORES = len(os.sched_getaffinity(0))
MIB, TIB = 1 << 20, 1 << 40


@pytest.mark.parametrize(
    ("num_gpus", "on_gpus", "host_bytes", "expected"),
    [
        pytest.param(8, 8, [], 8, id="one for each GPU, whatever the cores"),
        pytest.param(8, 3, [MIB] * 5, 3, id="no more than cases on GPUs"),
        pytest.param(1, 99, [], max(1, CORES), id="small cases that share: no more than cores"),
        pytest.param(0, 0, [MIB] * 99, CORES, id="without a GPU: cores"),
        pytest.param(0, 0, [MIB], 1, id="no more than cases"),
        pytest.param(0, 0, [TIB, MIB], 1, id="no more than fit into the host's memory"),
        pytest.param(0, 0, [], 1, id="one for none"),
    ],
)
def test_number_of_workers(
    num_gpus: int, on_gpus: int, host_bytes: list[int], expected: int
) -> None:
    """GPUs decide where a case has one, else cores, memory and cases."""
    assert expected == num_workers(num_gpus, on_gpus, host_bytes)
