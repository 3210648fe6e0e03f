"""What torch makes of CUDA's documented answers, where the harness relies on it.

benchmarks/CUDA.md lists the statements by their numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from simulated_worlds import CONTEXT, GIB, H100_TOTAL, MIB, h100

from harness.simulated.faults import Fault
from harness.simulated.world import SimulatedGpu

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

EXPANDABLE = "expandable_segments:True"
A100 = SimulatedGpu("NVIDIA A100-SXM4-40GB", 40441 * MIB, (8, 0), context_bytes=CONTEXT)
# How many blocks of 64 MiB fit under a tenth of an H100.
BLOCKS = (
    f"torch.cuda.set_per_process_memory_fraction(0.1 * {H100_TOTAL} / torch.cuda.mem_get_info()[1])\n"
    "kept = []\n"
    "take = lambda: kept.append(torch.empty(64 << 20, dtype=torch.uint8, device='cuda'))\n"
    "while message(take) is None: pass\n"
    "tell(len(kept))"
)
CONVOLVE = (
    "torch.backends.cudnn.benchmark = True; model = torch.nn.Conv2d(1, 1, 1).cuda()\n"
    "x = torch.zeros(1, 1, 4, 4, device='cuda')\n"
    "tell([message(model, x), torch.cuda.memory_stats()['num_ooms']])"
)
FORK = (
    "{before}\n"
    "if not (pid := os.fork()):\n"
    "    backward = lambda: torch.ones(2, requires_grad=True).sum().backward()\n"
    "    tell([message(backward), message(torch.zeros, 1, device='cuda')]); os._exit(0)\n"
    "os.waitpid(pid, 0)"
)
BACKWARD = (
    "with torch.autograd.set_multithreading_enabled({}):\n"
    "    torch.ones(2, requires_grad=True).sum().backward()"
)


def test_asynchronous_allocator_counts_no_failures(worlds: Worlds) -> None:
    """Neither failures nor retries are in its statistics; what it holds is (2)."""
    told = worlds.fresh(
        worlds.make(),
        "kept = torch.empty(1 << 30, dtype=torch.uint8, device='cuda')\n"
        "tell(message(torch.empty, 100 << 30, dtype=torch.uint8, device='cuda')[:16])\n"
        "stats = torch.cuda.memory_stats()\n"
        "tell([stats['num_ooms'], stats['num_alloc_retries'], stats['reserved_bytes.all.current']])",
        PYTORCH_CUDA_ALLOC_CONF="backend:cudaMallocAsync",
    )
    assert ["OutOfMemoryError", [0, 0, GIB]] == told


def test_full_device_is_out_of_memory_under_expandable_segments(worlds: Worlds) -> None:
    """Where CUDA gives no memory to map, not where torch's fraction is reached (8)."""
    world = worlds.make(h100(foreign_bytes=H100_TOTAL - CONTEXT - GIB))
    (text,) = worlds.fresh(
        world,
        "tell(message(torch.empty, 2 << 30, dtype=torch.uint8, device='cuda'))",
        PYTORCH_CUDA_ALLOC_CONF=EXPANDABLE,
    )
    assert "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB" in text
    assert "allowed" not in text


def test_segment_that_was_mapped_half_way_fails_for_good(worlds: Worlds) -> None:
    """After a mapping that failed, every allocation of the process does (9)."""
    world = worlds.make()
    world.add(Fault("mapping", code=304, nth=3))
    told = worlds.fresh(
        world,
        "for _ in range(3): tell(message(torch.zeros, 1 << 25, device='cuda')[:60])",
        PYTORCH_CUDA_ALLOC_CONF=EXPANDABLE,
    )
    asserted = "RuntimeError: !handles_.at(i) INTERNAL ASSERT FAILED at"
    assert ["CUDA driver error: OS call failed", True, True] == [
        told[0].partition(": ")[2][:33],
        *(text.startswith(asserted) for text in told[1:]),
    ]


@pytest.mark.parametrize("code", [700, 710])
def test_statistics_outlive_a_context(worlds: Worlds, code: int) -> None:
    """After a kernel's failure torch's figures can be read, and CUDA's cannot (13)."""
    world = worlds.make()
    world.add(Fault("launch", code=code, nth=2))
    told = worlds.run(
        world,
        "from harness.failures.out_of_memory import device_memory\n"
        "torch.ones(1, device='cuda'); torch.ones(1, device='cuda')\n"
        "tell([message(torch.cuda.synchronize) is None, message(torch.cuda.mem_get_info) is None])\n"
        "now = device_memory(); tell([now.num_ooms, now.free_bytes, now.reserved_bytes])",
    )
    assert [[False, False], [0, None, 2 * MIB]] == told


def test_limit_is_enforced_to_the_byte(worlds: Worlds) -> None:
    """A segment of the limit's size fits and no byte more, though torch rounds down (18)."""
    told = worlds.run(
        worlds.make(),
        "from harness.memory_bounds.cuda import CudaBound\n"
        "def fits(size):\n"
        "    torch.cuda.empty_cache()\n"
        "    return message(torch.empty, size, dtype=torch.uint8, device='cuda') is None\n"
        "for pieces in range(5, 400, 3):\n"
        "    bound = CudaBound(pieces * (4 << 20), 0.5); bound.start()\n"
        "    if [True, False] != [fits(bound.limit_bytes), fits(bound.limit_bytes + 1)]: tell(pieces)",
    )
    assert [] == told


def test_limit_moves_while_memory_is_held(worlds: Worlds) -> None:
    """It may be raised, and lowered below what is held: then nothing more is allowed (19)."""
    told = worlds.run(
        worlds.make(),
        "from harness.memory_bounds.cuda import CudaBound\n"
        "bound = CudaBound(4 << 30, 0.5); bound.start(); kept = []\n"
        "def take():\n"
        "    kept.append(torch.empty(1 << 30, dtype=torch.uint8, device='cuda'))\n"
        "for share in (1.0, 2.0, 0.5):\n"
        "    bound.rescale(share)\n"
        "    while message(take) is None: pass\n"
        "    tell(len(kept))",
    )
    assert [2, 4, 4] == told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, 126),
        ({"context_bytes": 6 * GIB}, 126),
        ({"context_bytes": 0}, 126),
        ({"foreign_bytes": 60 * GIB}, 126),
    ],
    ids=["alone", "large context", "no context", "neighbour"],
)
def test_limit_does_not_move_with_what_is_outside(
    worlds: Worlds, changes: dict[str, Any], told: int
) -> None:
    """Neither the context's size nor others count, as long as enough is left (16, 27)."""
    assert [told] == worlds.run(worlds.make(h100(**changes)), BLOCKS)


@pytest.mark.parametrize(
    ("taken", "asked", "told"),
    [
        (0, 5 * GIB, None),
        (H100_TOTAL - 10 * GIB, 5 * GIB, None),
        (H100_TOTAL - 3 * GIB, 3 * GIB, "others took 76.1 GiB of the GPU's memory"),
    ],
    ids=["alone", "neighbour that leaves enough", "neighbour in the way"],
)
def test_others_are_told_from_the_limit(
    worlds: Worlds, taken: int, asked: int, told: str | None
) -> None:
    """A failure is theirs where the device, and not the limit, has too little."""
    (found,) = worlds.run(
        worlds.make(),
        "from pathlib import Path\n"
        "from harness.failures.out_of_memory import device_memory\n"
        "from harness.memory_bounds.cuda import CudaBound\n"
        "from harness.simulated.world import World\n"
        "bound = CudaBound(5 << 30, 0.9); bound.start()\n"
        f"World(Path(os.environ['GPU_PROFILE_SIMULATED_WORLD'])).take({taken})\n"
        f"message(torch.empty, {asked}, dtype=torch.uint8, device='cuda')\n"
        "now = device_memory(); tell(bound.crowded_out(now.free_bytes, now.reserved_bytes))",
    )
    assert told == (found and found.partition(" while")[0])


def test_budget_emulates_a_smaller_gpu(worlds: Worlds) -> None:
    """Under the same limit in bytes as much fits on a large GPU as on a small one (28)."""
    small = h100(total_bytes=10 * GIB, nvml_bytes=10 * GIB)
    assert [126] == worlds.run(worlds.make(small), BLOCKS)


def test_cudnns_search_looks_beyond_the_limit(worlds: Worlds) -> None:
    """It tries a workspace that the device has room for, and a small GPU has not (28).

    The failure is the same, and only on the large GPU it is an allocation's.
    """
    fraction = "torch.cuda.set_per_process_memory_fraction(0.1)\n"
    large = worlds.make(h100(workspace_bytes=10 * GIB))
    emulated = worlds.run(large, fraction + CONVOLVE)
    small = worlds.make(h100(workspace_bytes=10 * GIB, total_bytes=8 * GIB))
    text = "RuntimeError: FIND was unable to find an engine to execute this computation"
    assert [[[text, 1]], [[text, 0]]] == [emulated, worlds.run(small, CONVOLVE)]


@pytest.mark.parametrize(
    ("before", "check", "starts"),
    [
        ("torch.cuda.is_available()", "1", False),
        ("torch.cuda.is_available()", "0", True),
        ("torch.cuda.device_count()", "1", False),
        ("torch.cuda.device_count()", "0", False),
        ("torch.cuda.mem_get_info()", "1", True),
    ],
)
def test_questions_that_start_cuda_spoil_a_fork(
    worlds: Worlds, before: str, check: str, starts: bool
) -> None:
    """`is_available` does so only where it does not ask NVML (30)."""
    ((on_cpu, on_gpu),) = worlds.fresh(
        worlds.make(), FORK.format(before=before), PYTORCH_NVML_BASED_CUDA_CHECK=check
    )
    text = "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with"
    assert [None, starts] == [on_cpu, str(on_gpu).startswith(text)]


@pytest.mark.parametrize("threads", [True, False])
def test_backward_pass_on_the_cpu_spoils_a_fork(worlds: Worlds, threads: bool) -> None:
    """Both of autograd and of CUDA, whichever thread it ran in (31)."""
    before = BACKWARD.format(threads)
    ((on_cpu, on_gpu),) = worlds.fresh(worlds.make(), FORK.format(before=before))
    assert "Unable to handle autograd's threading in combination with fork" in on_cpu
    assert "CUDA driver initialization failed" in on_gpu


@pytest.mark.parametrize(("gpu", "workspace"), [(h100(), 32 * MIB), (A100, 8_519_680)])
def test_cublas_has_a_workspace_for_each_thread(
    worlds: Worlds, gpu: SimulatedGpu, workspace: int
) -> None:
    """It is within the allocator, one for forward and one for backward (16, 46)."""
    told = worlds.run(
        worlds.make(gpu),
        "x = torch.zeros(64, 64, device='cuda', requires_grad=True)\n"
        "held = torch.cuda.memory_allocated\n"
        "before = held(); x @ x; tell(held() - before)\n"
        "(x @ x).sum().backward(); x.grad = None; tell(held() - before)",
    )
    assert [workspace, 2 * workspace] == told


def test_fused_rms_norm_keeps_a_float_per_row(worlds: Worlds) -> None:
    """Beyond its result, as the trace of a prediction counts (47)."""
    told = worlds.run(
        worlds.make(),
        "x = torch.zeros(1024, 512, device='cuda', requires_grad=True)\n"
        "w = torch.ones(512, device='cuda', requires_grad=True)\n"
        "before = torch.cuda.memory_allocated(); y = torch.nn.functional.rms_norm(x, (512,), w)\n"
        "tell(torch.cuda.memory_allocated() - before)",
    )
    assert [4 * 1024 * 512 + 4 * 1024] == told


def test_averaged_copy_takes_its_weights(worlds: Worlds) -> None:
    """And a count of the updates; an update needs no second copy (49)."""
    told = worlds.run(
        worlds.make(),
        "from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn\n"
        "model = torch.nn.Linear(1024, 1024, bias=False).cuda(); held = torch.cuda.memory_allocated\n"
        "before = held()\n"
        "copy = AveragedModel(model, device='cuda', multi_avg_fn=get_ema_multi_avg_fn(0.99))\n"
        "for _ in range(2): copy.update_parameters(model)\n"
        "tell(held() - before); tell(torch.cuda.max_memory_allocated() - before < 4.5 * (1 << 20))",
    )
    assert [4 * MIB + 512, True] == told
