"""Programs under `gpu-profile simulate`: unmodified, with their own exit codes and endings."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from json_documents import assert_described
from simulate_verb import VERB, Simulate
from simulated_worlds import CONTEXT, GIB, H100_TOTAL, MIB

pytestmark = pytest.mark.simulated

TRAIN = """
import sys, torch
from torch import nn
net = nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(4)]).cuda()
optimizer = torch.optim.AdamW(net.parameters())
for _ in range(3):
    batch = torch.randn(int(sys.argv[1]), 1024, device="cuda")
    net(batch).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
print(torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())
"""
ENDED = """
import os, signal, sys, torch
large = torch.empty(3 << 30, dtype=torch.uint8, device="cuda")
del large
torch.cuda.empty_cache()
torch.cuda.reset_peak_memory_stats()
print(torch.cuda.max_memory_allocated(), flush=True)
"""
RANKS = """
import os, torch, torch.distributed as dist
from torch import nn
dist.init_process_group("nccl")
rank = int(os.environ["LOCAL_RANK"])
torch.cuda.set_device(rank)
net = nn.parallel.DistributedDataParallel(nn.Linear(2048, 2048).cuda(), device_ids=[rank])
optimizer = torch.optim.AdamW(net.parameters())
for batch in torch.utils.data.DataLoader(torch.randn(16, 2048), batch_size=8, num_workers=1):
    net(batch.cuda()).square().mean().backward()
    optimizer.step()
line = f"rank {rank} of {dist.get_world_size()}: {torch.cuda.max_memory_allocated()}\\n"
# One write: both ranks share the pipe, and torchrun's Python prints text and newline apart.
os.write(1, line.encode())
dist.destroy_process_group()
"""
# Without torch, whose import takes seconds: what a program asks of CUDA itself.
SHARED = """
import ctypes, os
def hold(gibibytes):
    ctypes.CDLL(None).cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(gibibytes << 30))
pids = []
for gibibytes in (3, 5):
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        hold(gibibytes)
        os.write(ready[1], b"x")
        os.close(done[1])
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    pids.append((pid, done))
for pid, done in pids:
    os.write(done[1], b"x")
    os.waitpid(pid, 0)
"""
# The child begins with CUDA, and takes its memory when the program has ended.
LEFT_BEHIND = """
import ctypes, os
cuda, place = ctypes.CDLL(None), ctypes.c_void_p()
ready, ended = os.pipe(), os.pipe()
if not os.fork():
    os.close(ended[1])
    cuda.cudaSetDevice(0)
    os.write(ready[1], b"x")
    os.read(ended[0], 1)
    cuda.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(3 << 30))
    os._exit(0)
os.read(ready[0], 1)
os._exit(4)
"""


def test_peaks_of_a_training_are_those_that_torch_tells(simulate: Simulate) -> None:
    """The program's output is its own, and the table's bytes are torch's."""
    ended = simulate(sys.executable, "SCRIPT", "256", script=TRAIN)
    allocated, reserved = map(int, ended.output.split())
    process = ended.process
    assert [0, allocated, reserved] == [
        ended.code,
        process["peak_allocated_bytes"],
        process["peak_reserved_bytes"],
    ]
    assert [
        {
            "gpu": 0,
            "name": "NVIDIA H100 80GB HBM3",
            "total_bytes": H100_TOTAL,
            "peak_used_bytes": reserved + CONTEXT,
            "headroom_bytes": H100_TOTAL - reserved - CONTEXT,
        }
    ] == ended.told["gpus"]


def test_place_of_the_peak_is_the_users_line(simulate: Simulate) -> None:
    """It is told in the table and in the JSON; the gradients are the last that is allocated."""
    ended = simulate(sys.executable, "SCRIPT", "65536", script=TRAIN)
    where = ended.process["where"]
    file = str(simulate.folder / "train.py")
    assert {"file": file, "line": 8, "function": "<module>", "phase": "backward pass"} == where
    pid = ended.process["pid"]
    assert f"process {pid} on GPU 0 held the most at train.py:8, backward pass\n" in ended.errors


def test_snapshot_is_left_for_each_process(simulate: Simulate) -> None:
    """It is torch's own pickle, with the lines that allocated."""
    flags = ("--snapshot", "memory.pickle")
    ended = simulate(sys.executable, "SCRIPT", "256", script=TRAIN, flags=flags)
    snapshot = pickle.loads((simulate.folder / "memory.pickle").read_bytes())  # noqa: S301 - made here
    (traces,) = snapshot["device_traces"]
    lines = {
        frame["line"]
        for entry in traces
        for frame in entry["frames"]
        if frame["filename"].endswith("train.py")
    }
    assert [0, True] == [ended.code, {7, 8, 9} <= lines]


def test_out_of_memory_is_torchs_own(simulate: Simulate) -> None:
    """It is raised at the line that asks; the table below tells what did not fit."""
    ended = simulate(
        sys.executable,
        "SCRIPT",
        str(1 << 20),
        script=TRAIN,
        flags=("--gpu", "any", "--memory", "4GiB"),
    )
    traceback, _, table = ended.errors.partition("gpu-profile: exit code 1")
    assert 1 == ended.code
    assert 'train.py", line 7, in <module>\n    batch = torch.randn(' in traceback
    assert "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4.00 GiB" in traceback
    assert table.startswith(" on 1 x simulated any, 4.0 GiB each\n")
    pid, refused = ended.process["pid"], ended.process["refused_allocations"]
    # torch asks again after it has freed what it keeps.
    assert refused > 1
    assert f"process {pid} on GPU 0: {refused} allocations did not fit\n" in table


@pytest.mark.parametrize(
    ("ending", "code"),
    [("os._exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", 137)],
)
def test_peaks_outlive_every_ending_and_reset(simulate: Simulate, ending: str, code: int) -> None:
    """A process that is killed, and had torch forget its peak, has told all."""
    ended = simulate(sys.executable, "SCRIPT", script=ENDED + ending)
    process = ended.process
    assert [code, code, "0\n", 3 * GIB, 3 * GIB, 3] == [
        ended.code,
        ended.told["exit_code"],
        ended.output,
        process["peak_allocated_bytes"],
        process["peak_reserved_bytes"],
        process["where"]["line"],
    ]


def test_ranks_train_on_a_gpu_each(simulate: Simulate) -> None:
    """Two processes of torchrun have a row each; launcher and data workers have none."""
    ended = simulate(
        str(Path(sys.executable).with_name("torchrun")),
        "--nproc-per-node",
        "2",
        "SCRIPT",
        script=RANKS,
        flags=("--count", "2"),
    )
    assert 0 == ended.code, ended.errors
    told = sorted(
        (process["rank"], process["local_rank"], process["gpu"], process["peak_allocated_bytes"])
        for process in ended.told["processes"]
    )
    assert [f"rank {rank} of 2: {allocated}" for rank, _, _, allocated in told] == sorted(
        ended.output.splitlines()
    )
    assert [(0, 0, 0), (1, 1, 1)] == [row[:3] for row in told]


def test_processes_of_one_gpu_share_it(simulate: Simulate) -> None:
    """Each has its own peak, and what is left counts both; without torch nothing is allocated."""
    ended = simulate(sys.executable, "SCRIPT", script=SHARED)
    assert [(3 * GIB, None), (5 * GIB, None)] == [
        (process["peak_reserved_bytes"], process["peak_allocated_bytes"])
        for process in ended.told["processes"]
    ]
    assert 8 * GIB + 2 * CONTEXT == ended.told["gpus"][0]["peak_used_bytes"]
    assert 2 == ended.errors.count("unknown")


def test_process_whose_context_finds_no_room_is_listed(simulate: Simulate) -> None:
    """Where another one has filled the GPU, it held nothing, and its one allocation did not fit."""
    ended = simulate(
        sys.executable, "SCRIPT", script=SHARED, flags=("--gpu", "any", "--memory", "3.6GiB")
    )
    assert [(3 * GIB, 0), (0, 1)] == [
        (process["peak_reserved_bytes"], process["refused_allocations"])
        for process in ended.told["processes"]
    ]


def test_process_that_outlives_the_program_is_waited_for(simulate: Simulate) -> None:
    """Its peak is complete, and the exit code is the program's."""
    ended = simulate(sys.executable, "SCRIPT", script=LEFT_BEHIND)
    assert [4, 3 * GIB] == [ended.code, ended.process["peak_reserved_bytes"]]


def test_program_without_cuda_is_told(simulate: Simulate) -> None:
    """There is no table, and the exit code is the program's."""
    ended = simulate("sh", "-c", "exit 5")
    assert [5, "", []] == [ended.code, ended.output, ended.told["processes"]]
    assert "No process used CUDA." in ended.errors


def test_document_has_standard_output_to_itself(simulate: Simulate) -> None:
    """Without a path `--json` prints; what the program prints goes to standard error."""
    done = subprocess.run(
        [*VERB, "--gpu", "H100", "--json", "--", "sh", "-c", "echo of the program; exit 5"],
        check=False,
        capture_output=True,
        text=True,
        cwd=simulate.folder,
    )
    told = json.loads(done.stdout)
    assert_described(told, "simulate")
    assert (5, 5, True) == (done.returncode, told["exit_code"], "of the program" in done.stderr)


def test_memory_replaces_that_of_a_known_gpu(simulate: Simulate) -> None:
    """The name stays, and each of several GPUs has it."""
    ended = simulate("true", flags=("--gpu", "l4", "--memory", "4GiB", "--count", "3"))
    assert 3 * [("NVIDIA L4", 4 * GIB, 4096 * MIB)] == [
        (gpu["name"], gpu["total_bytes"], gpu["headroom_bytes"]) for gpu in ended.told["gpus"]
    ]
