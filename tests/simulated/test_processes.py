"""Processes that share a simulated GPU, and what NVML tells of them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from simulated_worlds import CONTEXT, GIB, H100_TOTAL, MIB, h100

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

HOLD = "x = torch.empty({} << 30, dtype=torch.uint8, device='cuda')"
NVML = "from harness.devices.nvml.gpus import memory, processes, visible_gpus\nuuid = visible_gpus()[0].uuid\n"


def test_another_process_leaves_less(worlds: Worlds) -> None:
    """What one process holds, its context included, is not free for another."""
    world = worlds.make()
    with worlds.holding(world, HOLD.format(50)):
        told = worlds.run(
            world,
            "tell(torch.cuda.mem_get_info()[0])\n"
            "tell(message(torch.empty, 40 << 30, dtype=torch.uint8, device='cuda')[:16])",
        )
    assert [H100_TOTAL - 2 * CONTEXT - 50 * GIB, "OutOfMemoryError"] == told


def test_nvml_has_the_same_processes_and_memory(worlds: Worlds) -> None:
    """One truth for CUDA and NVML: used memory, free memory, and who holds it."""
    world = worlds.make()
    with worlds.holding(world, HOLD.format(3)) as process:
        told = worlds.run(
            world,
            NVML
            + "now = memory(uuid); tell([now.used_bytes, now.free_bytes, now.reserved_bytes])\n"
            "tell([[p.pid, p.used_bytes] for p in processes(uuid)])",
        )
        pid = process.pid
    held = CONTEXT + 3 * GIB
    assert [[held, H100_TOTAL - held, 551 * MIB], [[pid, held]]] == told


def test_end_gives_everything_back(worlds: Worlds) -> None:
    """After a process has ended NVML shows nothing of it."""
    world = worlds.make()
    with worlds.holding(world, HOLD.format(3)) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        told = worlds.run(world, NVML + "tell(memory(uuid).used_bytes); tell(len(processes(uuid)))")
    assert [0, 0] == told


def test_zombie_holds_nothing(worlds: Worlds) -> None:
    """A killed process whose parent has not asked for it has given its memory back."""
    world = worlds.make()
    with worlds.holding(world, HOLD.format(3)) as process:
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        told = worlds.run(world, "tell(torch.cuda.mem_get_info()[0])")
    assert [H100_TOTAL - CONTEXT] == told


def test_memory_may_come_back_late(worlds: Worlds) -> None:
    """In a slow world the memory of a process that has ended is still taken, without a process."""
    world = worlds.make(late_seconds=3600)
    with worlds.holding(world, HOLD.format(3)) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        told = worlds.run(world, NVML + "tell(memory(uuid).used_bytes); tell(len(processes(uuid)))")
    assert [CONTEXT + 3 * GIB, 0] == told


def test_foreign_memory_is_taken(worlds: Worlds) -> None:
    """Others hold what the world says, and NVML names them."""
    world = worlds.make(h100(foreign_bytes=60 * GIB, foreign_pid=4711, foreign_name="neighbour"))
    told = worlds.run(
        world,
        NVML
        + "tell([[p.pid, p.used_bytes] for p in processes(uuid)]); tell(torch.cuda.mem_get_info()[0])",
    )
    assert [[[4711, 60 * GIB]], H100_TOTAL - CONTEXT - 60 * GIB] == told


def test_fork_of_a_process_with_cuda_fails_for_good(worlds: Worlds) -> None:
    """Torch says of it what it says on a GPU."""
    told = worlds.run(
        worlds.make(),
        "torch.zeros(1, device='cuda')\n"
        "if not (pid := os.fork()):\n"
        "    tell(torch.cuda._is_in_bad_fork()); tell(message(torch.zeros, 1, device='cuda')); os._exit(0)\n"
        "os.waitpid(pid, 0)",
    )
    text = (
        "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with "
        "multiprocessing, you must use the 'spawn' start method"
    )
    assert [True, text] == told


def test_runtime_of_such_a_fork_answers_with_its_code(worlds: Worlds) -> None:
    """Every call gives cudaErrorInitializationError, and the parent goes on."""
    told = worlds.run(
        worlds.make(),
        "import ctypes; cuda = ctypes.CDLL(None); at = ctypes.c_void_p()\n"
        "malloc = lambda: cuda.cudaMalloc(ctypes.byref(at), ctypes.c_size_t(1))\n"
        "malloc()\n"
        "if not (pid := os.fork()):\n"
        "    tell([malloc(), malloc(), cuda.cudaDeviceSynchronize()]); os._exit(0)\n"
        "os.waitpid(pid, 0); tell(malloc())",
    )
    assert [[3, 3, 3], 0] == told


def test_fork_before_cuda_is_a_process_of_its_own(worlds: Worlds) -> None:
    """It may use CUDA, and so may its parent afterwards."""
    told = worlds.run(
        worlds.make(),
        "use = lambda: (torch.zeros(1, device='cuda'), tell(torch.cuda.mem_get_info()[0]))\n"
        "if not (pid := os.fork()): use(); os._exit(0)\n"
        "os.waitpid(pid, 0); use()",
    )
    assert 2 * [H100_TOTAL - CONTEXT - 2 * MIB] == told


def test_program_that_replaces_another_holds_nothing_of_it(worlds: Worlds) -> None:
    """After exec the process is the same one, and its GPU is as free as before."""
    told = worlds.run(
        worlds.make(),
        HOLD.format(3) + "\n"
        "script = 'import torch; print(torch.cuda.mem_get_info()[0])'\n"
        "os.execv(sys.executable, [sys.executable, '-c', script])",
    )
    assert [H100_TOTAL - CONTEXT] == told


def test_kills_at_any_moment_harm_nobody(worlds: Worlds) -> None:
    """Processes that are killed while they allocate leave a world in which others go on."""
    world = worlds.make()
    told = worlds.run(
        world,
        "import ctypes, random, signal; cuda = ctypes.CDLL(None)\n"
        "def churn():\n"
        "    at = ctypes.c_void_p(); tell('began')\n"
        "    while True: cuda.cudaMalloc(ctypes.byref(at), ctypes.c_size_t(1)); cuda.cudaFree(at)\n"
        "for _ in range(40):\n"
        "    read, write = os.pipe()\n"
        "    if not (pid := os.fork()): os.dup2(write, 1); churn()\n"
        "    os.read(read, 8); [None for _ in range(random.randrange(100000))]\n"
        "    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0); os.close(read); os.close(write)\n"
        "tell(torch.cuda.mem_get_info()[0])",
    )
    assert [H100_TOTAL - CONTEXT] == told
