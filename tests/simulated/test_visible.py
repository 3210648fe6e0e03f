"""Which of a world's GPUs CUDA shows a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simulated_worlds import GIB, MIG, h100

from harness.simulated.world import SimulatedGpu

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

A100 = SimulatedGpu(
    "NVIDIA A100-SXM4-40GB", 39 * GIB, (8, 0), 108, uuid="GPU-aaaa0000-0000-4000-8000-000000000000"
)
H100 = h100(uuid="GPU-abcd0000-0000-4000-8000-000000000000")
SMALL = SimulatedGpu(
    "Tesla T4", 14 * GIB, (7, 5), 40, uuid="GPU-b0000000-0000-4000-8000-000000000000"
)
A, H, T = "NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3", "Tesla T4"
# torch counts by NVML, which knows neither orders nor instances.
COUNT = "import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).cudaGetDeviceCount(ctypes.byref(n))\n"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [H, A, T]),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [A, H, T]),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,0"}, [H, A]),
        ({"CUDA_VISIBLE_DEVICES": "0"}, [H]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-ab"}, [H]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b0000000-0000-4000-8000-000000000000,GPU-aa"}, [T, A]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a"}, []),
        ({"CUDA_VISIBLE_DEVICES": "1,9,0"}, [A]),
        ({"CUDA_VISIBLE_DEVICES": "1,1"}, []),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
    ],
)
def test_variables_choose_and_order(
    worlds: Worlds, variables: dict[str, str], expected: list[str]
) -> None:
    """By index, by UUID or its unambiguous beginning; the list ends at what names no GPU."""
    script = COUNT + "tell([torch.cuda.get_device_properties(i).name for i in range(n.value)])"
    assert [expected] == worlds.run(worlds.make(A100, H100, SMALL), script, **variables)


def test_each_gpu_has_its_own_memory(worlds: Worlds) -> None:
    """What is taken on one leaves the other as it was."""
    told = worlds.run(
        worlds.make(h100(context_bytes=0), h100(context_bytes=0)),
        "x = torch.empty(1 << 30, dtype=torch.uint8, device='cuda:1')\n"
        "tell([torch.cuda.mem_get_info(i)[1] - torch.cuda.mem_get_info(i)[0] for i in (0, 1)])",
    )
    assert [[0, GIB]] == told


@pytest.mark.parametrize(
    ("driver", "chosen", "expected"),
    [
        ("580.95.05", None, [9, 19]),
        ("535.54.03", None, [9]),
        ("580.95.05", "MIG-51000000-0000-4000-8000-000000000002", [19]),
        ("580.95.05", "MIG-GPU-51000000-0000-4000-8000-000000000000/3/0", [19]),
    ],
)
def test_instances_stand_in_the_place_of_their_gpu(
    worlds: Worlds, driver: str, chosen: str | None, expected: list[int]
) -> None:
    """All of them since R570, one before; or the one that the variable names."""
    world = worlds.make(*MIG, driver=driver)
    script = COUNT + "tell([torch.cuda.mem_get_info(i)[1] >> 30 for i in range(n.value)])"
    assert [expected] == worlds.run(world, script, CUDA_VISIBLE_DEVICES=chosen)


def test_instance_runs_out_of_its_own_memory(worlds: Worlds) -> None:
    """The message has the instance's total."""
    (text,) = worlds.run(
        worlds.make(*MIG),
        "tell(message(torch.empty, 15 << 30, dtype=torch.uint8, device='cuda'))",
        CUDA_VISIBLE_DEVICES="MIG-51000000-0000-4000-8000-000000000001",
    )
    assert "GPU 0 has a total capacity of 9.00 GiB" in text


def test_prohibited_gpu_gives_no_context(worlds: Worlds) -> None:
    """CUDA says that it is unavailable."""
    (text,) = worlds.run(
        worlds.make(h100(prohibited=True)), "tell(message(torch.zeros, 1, device='cuda'))"
    )
    assert "CUDA-capable device(s) is/are busy or unavailable" in text
