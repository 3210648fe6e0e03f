"""The limit on a probe's memory, as the probe's process enforces and reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from harness.devices.cpu import CpuDevice
from harness.errors import MachineError
from harness.memory_bounds import CudaBound, HostBound, make_bound, no_bound
from harness.memory_bounds.cuda import blocks, fraction_for

MIB = 1 << 20
IN_A_PROBE = """
import json
import torch
from harness.memory_bounds import make_bound

def fits(num_bytes):
    try:
        torch.empty(num_bytes, dtype=torch.uint8).fill_(1)
    except RuntimeError:
        return False
    return True

module = torch.nn.Linear(1024, 1024, bias=False)  # 4 MiB
bound = make_bound({"accelerator": "cpu", "budget_bytes": 64 << 20})
bound.start()
bound.engage(module)
told = {"empty": bound.peak_bytes(), "fits": fits(32 << 20), "peak": bound.peak_bytes()}
told["beyond"] = fits(61 << 20)
bound.rescale(0.5)
told["beyond half"] = fits(29 << 20)
bound.rescale(1.0)
with bound.uncounted():
    kept = torch.empty(128 << 20, dtype=torch.uint8).fill_(1)
told["peak beside uncounted"] = bound.peak_bytes()
told["fits beside uncounted"] = fits(32 << 20)
told["beyond beside uncounted"] = fits(61 << 20)
bound.lift()
told["lifted"] = fits(128 << 20)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """Run a process with a budget of 64 MiB, and return what it saw."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROBE],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | dict(CpuDevice.environment),
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_uncounted_memory_leaves_the_limit_to_the_case(told: dict[str, Any]) -> None:
    """Beside 128 MiB that do not count, as much fits as before, and the peak is the case's own."""
    assert (True, False) == (told["fits beside uncounted"], told["beyond beside uncounted"])
    assert told["peak"] >= told["peak beside uncounted"]


def test_bound_is_that_of_the_device() -> None:
    """The CPU's has its budget, a GPU's its budget and share."""
    cpu = make_bound({"accelerator": "cpu", "budget_bytes": 64 * MIB})
    gpu = make_bound({"accelerator": "cuda", "budget_bytes": None, "fraction": 0.9})
    assert isinstance(cpu, HostBound)
    assert isinstance(gpu, CudaBound)
    assert (64 * MIB, None, 0.9) == (cpu.limit_bytes, gpu.budget_bytes, gpu.fraction)


def test_bounds_choose_the_trainers_accelerator() -> None:
    """A probe trains on one device of its kind."""
    assert {"accelerator": "cpu", "devices": 1} == no_bound().trainer_arguments
    assert {"accelerator": "cuda", "devices": 1} == CudaBound(None, 0.9).trainer_arguments


def test_peak_is_the_module_before_anything_is_trained(told: dict[str, Any]) -> None:
    """The interpreter and the libraries do not count."""
    assert 4 * MIB == pytest.approx(told["empty"], abs=0.5 * MIB)


def test_peak_grows_by_what_is_allocated(told: dict[str, Any]) -> None:
    """An allocation of 32 MiB beside the module fits, and is seen."""
    assert told["fits"]
    assert 36 * MIB == pytest.approx(told["peak"], abs=0.5 * MIB)


def test_allocation_beyond_the_budget_fails(told: dict[str, Any]) -> None:
    """The kernel refuses it: 61 MiB beside the module's 4 are more than 64."""
    assert not told["beyond"]


def test_share_of_the_limit_is_enforced(told: dict[str, Any]) -> None:
    """Of half the budget, 29 MiB beside the module's 4 are too many."""
    assert not told["beyond half"]


def test_lifted_bound_bounds_nothing(told: dict[str, Any]) -> None:
    """Errors can be described in full once the limit is gone."""
    assert told["lifted"]


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_build_of_torch_without_cuda_is_named() -> None:
    """A GPU's bound cannot start with a CPU build; the message names the remedy."""
    bound = make_bound({"accelerator": "cuda", "budget_bytes": None, "fraction": 0.9})
    with pytest.raises(MachineError, match="is built without CUDA: install one of the builds"):
        bound.start()


@pytest.mark.parametrize("total", [81008 * MIB, 40441 * MIB, 143156 * MIB])
def test_fraction_is_the_limit_to_the_byte(total: int) -> None:
    """What torch computes of it, rounded down, is the limit; more than all is all."""
    limits = [pieces * 2 * MIB for pieces in range(1, total // (2 * MIB), 97)]
    assert limits == [int(fraction_for(limit, total) * total) for limit in limits]
    assert 1.0 == fraction_for(total + 1, total)


def test_blocks_of_a_history_are_numbered_in_their_order() -> None:
    """A block comes with its allocation, and goes when its free is done; segments do not count."""
    entries = [
        {"action": "segment_alloc", "addr": 0, "size": 2 << 20},
        {"action": "alloc", "addr": 0, "size": 100},
        {"action": "alloc", "addr": 512, "size": 200},
        {"action": "free_requested", "addr": 0, "size": 100},
        {"action": "free_completed", "addr": 0, "size": 100},
        {"action": "alloc", "addr": 0, "size": 300},
        {"action": "free_completed", "addr": 512, "size": 200},
        {"action": "free_completed", "addr": 4096, "size": 1},
    ]
    assert ([100, 200, 300], [0, 1, ~0, 2, ~1]) == blocks(entries)
