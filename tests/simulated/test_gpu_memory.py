"""Memory of a simulated GPU, as torch's caching allocator takes it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from simulated_worlds import CONTEXT, GIB, H100_TOTAL, MIB

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated


def test_torch_sees_the_gpu(worlds: Worlds) -> None:
    """Name, total, compute capability and processors are the world's."""
    (seen,) = worlds.run(
        worlds.make(),
        "p = torch.cuda.get_device_properties(0)\n"
        "tell([torch.cuda.is_available(), torch.cuda.device_count(), p.name, p.total_memory, p.major, p.multi_processor_count])",
    )
    assert [True, 1, "NVIDIA H100 80GB HBM3", H100_TOTAL, 9, 132] == seen


def test_context_is_taken_at_first_use(worlds: Worlds) -> None:
    """Free memory is the total less a context."""
    told = worlds.run(worlds.make(), "tell(torch.cuda.mem_get_info())")
    assert [[H100_TOTAL - CONTEXT, H100_TOTAL]] == told


def test_allocator_takes_what_it_reserves(worlds: Worlds) -> None:
    """Free memory falls by the allocator's segments, and rises when the cache is emptied."""
    told = worlds.run(
        worlds.make(),
        "x = torch.empty(3 << 30, dtype=torch.uint8, device='cuda')\n"
        "tell([torch.cuda.memory_allocated(), torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0]])\n"
        "del x; torch.cuda.empty_cache(); tell([torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0]])",
    )
    free = H100_TOTAL - CONTEXT
    assert [[3 * GIB, 3 * GIB, free - 3 * GIB], [0, free]] == told


def test_driver_maps_two_mebibytes_at_a_time(worlds: Worlds) -> None:
    """A small allocation outside of the allocator takes 2 MiB."""
    told = worlds.run(
        worlds.make(),
        "before = torch.cuda.mem_get_info()[0]\n"
        "torch.cuda.cudart().cudaHostRegister\n"
        "import ctypes; cuda = ctypes.CDLL(None); at = ctypes.c_void_p()\n"
        "code = cuda.cudaMalloc(ctypes.byref(at), ctypes.c_size_t(1))\n"
        "tell([code, before - torch.cuda.mem_get_info()[0]])",
    )
    assert [[0, 2 * MIB]] == told


def test_out_of_memory_is_torchs_own(worlds: Worlds) -> None:
    """The error names what was asked for, the total, what is free, and this process's use."""
    (text,) = worlds.run(
        worlds.make(),
        "tell(message(torch.empty, 100 << 30, dtype=torch.uint8, device='cuda'))",
    )
    assert (
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 100.00 GiB. GPU 0 has a total capacity of "
        "79.11 GiB of which 78.59 GiB is free. Including non-PyTorch memory, this process has 530.00 MiB memory "
        "in use."
    ) in text


def test_fraction_bounds_what_is_reserved(worlds: Worlds) -> None:
    """Torch's limit per process holds, and the message says so."""
    (text,) = worlds.run(
        worlds.make(),
        "torch.cuda.set_per_process_memory_fraction(0.1)\n"
        "tell(message(torch.empty, 10 << 30, dtype=torch.uint8, device='cuda'))",
    )
    assert "7.91 GiB allowed" in text


def test_training_step_holds_what_it_must(worlds: Worlds) -> None:
    """Weights, gradients and AdamW's two moments of a linear layer, in blocks of 512 bytes."""
    told = worlds.run(
        worlds.make(),
        "model = torch.nn.Linear(1024, 1024, bias=False).cuda(); optimizer = torch.optim.AdamW(model.parameters(), fused=True)\n"
        "model(torch.ones(1, 1024, device='cuda')).sum().backward(); optimizer.step()\n"
        "torch._C._cuda_clearCublasWorkspaces(); tell(torch.cuda.memory_allocated())",
    )
    step = 512
    assert [4 * 4 * MIB + step] == told


def test_small_copies_come_back(worlds: Worlds) -> None:
    """What was copied to the GPU can be read back, and copied there."""
    told = worlds.run(
        worlds.make(),
        "x = torch.tensor([1, 2, 3]).cuda(); tell(x.tolist()); tell(x.clone().tolist()); tell(x[1:].tolist())",
    )
    assert [[1, 2, 3], [1, 2, 3], [2, 3]] == told


def test_everything_else_reads_as_zeros(worlds: Worlds) -> None:
    """So do large copies, what kernels make, and memory that held something else before."""
    told = worlds.run(
        worlds.make(),
        "tell(torch.ones(1 << 20).cuda().sum().item()); tell(torch.ones(1 << 20).cuda()[:2].tolist())\n"
        "x = torch.tensor([5.0]).cuda(); at = x.data_ptr(); del x\n"
        "y = torch.full((1,), 7.0, device='cuda'); tell(y.data_ptr() == at); tell(y.item())",
    )
    assert [0.0, [0.0, 0.0], True, 0.0] == told


def test_host_code_that_touches_the_gpus_memory_dies(worlds: Worlds) -> None:
    """As it does on a GPU."""
    status, _ = worlds.ended(
        worlds.make(),
        "import ctypes; ctypes.string_at(torch.ones(3, device='cuda').data_ptr(), 4)",
    )
    assert -signal.SIGSEGV == status


def test_pinned_memory_is_the_hosts(worlds: Worlds) -> None:
    """It holds values, and takes nothing of the GPU."""
    told = worlds.run(
        worlds.make(),
        "before = torch.cuda.mem_get_info()[0]; x = torch.arange(1 << 20).pin_memory()\n"
        "tell([x.is_pinned(), x[-1].item(), before - torch.cuda.mem_get_info()[0]])",
    )
    assert [[True, (1 << 20) - 1, 0]] == told


def test_expandable_segments_map_and_unmap(worlds: Worlds) -> None:
    """The driver's virtual memory counts when it is mapped, 20 MiB at a time, and comes back."""
    told = worlds.fresh(
        worlds.make(),
        "x = torch.empty(3 << 30, dtype=torch.uint8, device='cuda'); y = torch.empty(1 << 30, dtype=torch.uint8, device='cuda')\n"
        "tell(torch.cuda.memory._snapshot()['segments'][0]['is_expandable']); tell(torch.cuda.mem_get_info()[0])\n"
        "del x, y; torch.cuda.empty_cache(); tell(torch.cuda.mem_get_info()[0])\n"
        "tell(message(torch.empty, 100 << 30, dtype=torch.uint8, device='cuda')[:16])",
        PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True",
    )
    free = H100_TOTAL - CONTEXT
    assert [True, free - 4100 * MIB, free, "OutOfMemoryError"] == told


def test_asynchronous_allocator_takes_from_a_pool(worlds: Worlds) -> None:
    """The allocations of cudaMallocAsync count in a pool, which gives back what it is asked to."""
    told = worlds.fresh(
        worlds.make(),
        "x = torch.empty(1 << 30, dtype=torch.uint8, device='cuda')\n"
        "tell([torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0]])\n"
        "del x; torch.cuda.synchronize(); torch.cuda.empty_cache(); tell(torch.cuda.mem_get_info()[0])\n"
        "tell(message(torch.empty, 100 << 30, dtype=torch.uint8, device='cuda')[:16])",
        PYTORCH_CUDA_ALLOC_CONF="backend:cudaMallocAsync",
    )
    free = H100_TOTAL - CONTEXT
    assert [[GIB, free - GIB], free, "OutOfMemoryError"] == told


def test_history_and_snapshot_are_recorded(worlds: Worlds) -> None:
    """Torch's own snapshot holds the segment and the allocation."""
    told = worlds.run(
        worlds.make(),
        "torch.cuda.memory._record_memory_history(); x = torch.empty(1 << 20, dtype=torch.uint8, device='cuda')\n"
        "s = torch.cuda.memory._snapshot()\n"
        "tell([[seg['total_size'] for seg in s['segments']], [e['action'] for e in s['device_traces'][0]]])",
    )
    assert [[[2 * MIB], ["segment_alloc", "alloc"]]] == told
