"""Faults on demand, as torch reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simulated_worlds import CONTEXT, GIB, H100_TOTAL, MIB

from harness.simulated.faults import Fault

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

# The class of the error is AcceleratorError since torch 2.8, and RuntimeError before.
WORDS = "words = lambda text: text.splitlines()[0].partition(': ')[2]\n"
ZEROS = "tell(message(torch.zeros, 1 << 25, device='cuda'))\n"


def test_nth_allocation_is_out_of_memory(worlds: Worlds) -> None:
    """The first succeeds, the second fails and is tried once more, and the next succeeds again."""
    world = worlds.make()
    world.add(Fault("allocation", nth=2, times=2))
    told = worlds.run(world, "k = [torch.zeros(1 << 25, device='cuda')]\n" + 2 * ZEROS)
    assert "OutOfMemoryError: CUDA out of memory" in told[0]
    assert [None, 4] == [told[1], world.counted()]


def test_sticky_code_stays(worlds: Worlds) -> None:
    """After an illegal access every call of the process fails, and other processes go on."""
    world = worlds.make()
    world.add(Fault("launch", code=700, nth=2))
    told = worlds.run(
        world,
        WORDS + "torch.ones(1, device='cuda'); torch.ones(1, device='cuda')\n"
        "for _ in range(2): tell(words(message(torch.cuda.synchronize)))\n"
        "tell(words(message(torch.cuda.mem_get_info)))",
    )
    assert 3 * ["CUDA error: an illegal memory access was encountered"] == told
    assert [1.0] == worlds.run(world, "tell(torch.tensor([1.0], device='cuda').item())")


def test_launch_fails_at_once_where_the_code_does_not_stay(worlds: Worlds) -> None:
    """Too many resources for one launch: the next launch succeeds."""
    world = worlds.make()
    world.add(Fault("launch", code=701))
    ones = "tell(words(message(torch.ones, 1, device='cuda') or ': fine'))\n"
    told = worlds.run(world, WORDS + 2 * ones)
    assert ["CUDA error: too many resources requested for launch", "fine"] == told


def test_fault_may_come_with_an_xid(worlds: Worlds) -> None:
    """NVML tells of it while the kernel fails."""
    world = worlds.make()
    world.add(Fault("launch", code=700, xid=31))
    told = worlds.run(
        world,
        "from harness.devices.nvml.gpus import visible_gpus\n"
        "from harness.devices.nvml.health import HealthWatch\n"
        "with HealthWatch(visible_gpus()[0].uuid) as watch:\n"
        "    torch.ones(1, device='cuda'); tell(watch.xids())",
    )
    assert [[31]] == told


def test_context_may_not_fit(worlds: Worlds) -> None:
    """The first use of the GPU fails with CUDA's words."""
    world = worlds.make()
    world.add(Fault("context", times=0))
    (text,) = worlds.run(world, "tell(message(torch.zeros, 1, device='cuda'))")
    assert "CUDA error: out of memory" in text


def test_context_does_not_fit_beside_foreign_memory(worlds: Worlds) -> None:
    """Without a fault as well, where others leave less than it takes."""
    world = worlds.make()
    world.take(H100_TOTAL - CONTEXT + MIB)
    (text,) = worlds.run(world, "tell(message(torch.zeros, 1, device='cuda'))")
    assert "CUDA error: out of memory" in text


def test_pinned_buffer_fails(worlds: Worlds) -> None:
    """The host's memory cannot be locked."""
    world = worlds.make()
    world.add(Fault("pinned"))
    (text,) = worlds.run(world, "tell(message(torch.ones(1 << 20).pin_memory))")
    assert "CUDA error: out of memory" in text


@pytest.mark.parametrize(
    ("kind", "code", "script", "expected"),
    [
        ("cublas", 3, "x = torch.zeros(4, 4, device='cuda'); f = lambda: x.double() @ x.double()", "CUBLAS_STATUS_ALLOC_FAILED"),
        ("cudnn", 4003, "m = torch.nn.Conv2d(1, 1, 1).cuda(); x = torch.zeros(1, 1, 4, 4, device='cuda'); f = lambda: m(x)", "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
        ("cusolver", 2, "x = torch.zeros(4, 4, device='cuda'); f = lambda: torch.linalg.qr(x)", "CUSOLVER_STATUS_ALLOC_FAILED"),
    ],
)  # fmt: skip
def test_handle_cannot_be_made(
    worlds: Worlds, kind: str, code: int, script: str, expected: str
) -> None:
    """The library says so, in its own codes."""
    world = worlds.make()
    world.add(Fault(kind, code=code, times=0))  # type: ignore[arg-type] # one of the kinds
    (text,) = worlds.run(world, script + "\ntell(message(f))")
    assert expected in text


def test_cudnn_finds_no_engine(worlds: Worlds) -> None:
    """Torch says that none computes this."""
    world = worlds.make()
    world.add(Fault("engine", code=1, times=0))
    (text,) = worlds.run(
        world,
        "m = torch.nn.Conv2d(1, 1, 1).cuda(); tell(message(m, torch.zeros(1, 1, 4, 4, device='cuda')))",
    )
    assert "unable to find an engine" in text


def test_mapping_of_an_expandable_segment_fails(worlds: Worlds) -> None:
    """Any code but out of memory is an error of the driver's."""
    world = worlds.make()
    world.add(Fault("mapping", code=304))
    told = worlds.fresh(world, ZEROS, PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True")
    assert "CUDA driver error: OS call failed or operation not supported on this OS" in told[0]


def test_neighbour_takes_memory_in_the_middle(worlds: Worlds) -> None:
    """At the second allocation, which succeeds, 70 GiB go; the third does not fit any more."""
    world = worlds.make()
    world.add(Fault("allocation", code=0, nth=2, neighbour_bytes=70 * GIB))
    told = worlds.run(
        world,
        "take = lambda: kept.append(torch.empty(5 << 30, dtype=torch.uint8, device='cuda'))\n"
        "kept = []; tell([(message(take) or 'fine')[:16] for _ in range(3)]); tell(torch.cuda.mem_get_info()[0])",
    )
    assert [
        ["fine", "OutOfMemoryError", "OutOfMemoryError"],
        H100_TOTAL - CONTEXT - 75 * GIB,
    ] == told


def test_each_process_may_count_for_itself(worlds: Worlds) -> None:
    """Every process's first allocation fails, and not the next."""
    world = worlds.make()
    world.add(Fault("allocation", times=2, each_process=True))
    script = (
        "tell([(message(torch.zeros, 1 << 25, device='cuda') or 'fine')[:16] for _ in range(2)])"
    )
    assert 2 * [["OutOfMemoryError", "fine"]] == [
        *worlds.run(world, script),
        *worlds.run(world, script),
    ]
