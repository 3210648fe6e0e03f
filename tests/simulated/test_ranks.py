"""Ranks over NCCL under `gpu-profile simulate`: small messages arrive, and barriers wait."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from simulate_verb import Simulate

from harness.errors import HarnessError
from harness.simulated.library import library

if TYPE_CHECKING:
    from simulate_verb import Ended

pytestmark = pytest.mark.simulated

RANKS = 3
MESSAGES = """
import json, os, pathlib, torch, torch.distributed as dist
rank = int(os.environ["LOCAL_RANK"]); torch.cuda.set_device(rank); dist.init_process_group("nccl")
n, told = dist.get_world_size(), {}
def numbers(*given): return torch.tensor(given, device="cuda")

box = ["a" * 99, {"of": 0}] if rank == 0 else [None, None]
dist.broadcast_object_list(box, src=0); told["broadcast objects"] = [len(box[0]), box[1]]
box = [bytes(range(250)) * 1200 if rank == 1 else None]
dist.broadcast_object_list(box, src=1); told["large object"] = [len(box[0]), box[0][-1]]
box = [None] * n
dist.all_gather_object(box, "b" * (10 + 1000 * rank)); told["gathered objects"] = [len(one) for one in box]
box = [None] * n if rank == 0 else None
dist.gather_object(rank, box, dst=0); told["objects of rank 0"] = box
box = [None]
dist.scatter_object_list(box, [f"for {i}" for i in range(n)] if rank == 0 else None); told["scattered objects"] = box
box = [7, "seven"] if rank == 0 else [None, None]
if rank == 0: dist.send_object_list(box, dst=1)
if rank == 1: dist.recv_object_list(box, src=0)
told["sent objects"] = box

for name in ("SUM", "MAX", "MIN", "PRODUCT"):
    values = numbers(rank + 1, 5); dist.all_reduce(values, op=getattr(dist.ReduceOp, name)); told[name] = values.tolist()
values = numbers(float(rank)); dist.all_reduce(values, op=dist.ReduceOp.AVG); told["AVG"] = values.tolist()
values = numbers(*range(2 * n)); piece = torch.empty(2, dtype=torch.long, device="cuda")
dist.reduce_scatter_tensor(piece, values); told["reduce_scatter"] = piece.tolist()
values = numbers(*(100 * rank + i for i in range(n))); pieces = torch.empty_like(values)
dist.all_to_all_single(pieces, values); told["all_to_all"] = pieces.tolist()
values = numbers(rank); received = torch.zeros_like(values)
works = dist.batch_isend_irecv([
    dist.P2POp(dist.irecv, received, (rank - 1) % n), dist.P2POp(dist.isend, values, (rank + 1) % n)])
[work.wait() for work in works]; told["from the left"] = received.tolist()
large = torch.ones(1 << 20, device="cuda"); dist.all_reduce(large); told["large tensor"] = large[:1].tolist()

pair = dist.new_group([0, 2])
if rank != 1:
    box = [None, None]; dist.all_gather_object(box, rank, group=pair); told["pair"] = box
arrived, ready = pathlib.Path(f"arrived{rank}"), pathlib.Path("ready")
arrived.touch()
if rank == 0:
    while not pathlib.Path("arrived1").exists(): pass
    ready.touch()
dist.barrier(); told["barrier"] = ready.exists()
pathlib.Path(f"{rank}.json").write_text(json.dumps(told)); dist.destroy_process_group()
"""
SPLIT = """
import json, os, torch, torch.distributed as dist
rank = int(os.environ["LOCAL_RANK"]); torch.cuda.set_device(rank)
dist.init_process_group("nccl", device_id=torch.device("cuda", rank))
mesh = dist.init_device_mesh("cuda", (2, 2), mesh_dim_names=("outer", "inner"))
told = []
for name in ("outer", "inner"):
    box = [None, None]; dist.all_gather_object(box, rank, group=mesh.get_group(name)); told.append(box)
open(f"{rank}.json", "w").write(json.dumps(told)); dist.destroy_process_group()
"""
LEAVING = """
import os, torch, torch.distributed as dist
rank = int(os.environ["RANK"]); torch.cuda.set_device(rank)
dist.init_process_group("nccl", init_method=f"file://{os.getcwd()}/meeting", world_size=2, rank=rank)
dist.all_reduce(torch.ones(1, device="cuda"))
if rank == 1: os._exit(0)
dist.broadcast_object_list([None], src=1)
"""
# Without a launcher, which would end the other one.
LEFT_ALONE = f"""
import os, subprocess, sys
script = {LEAVING!r}
ranks = [subprocess.Popen([sys.executable, "-c", script], env=os.environ | {{"RANK": str(i)}}) for i in (0, 1)]
sys.exit([rank.wait() for rank in ranks] != [1, 0])
"""
SHARDED = """
import os, sys, torch, torch.distributed as dist
from torch import nn
rank = int(os.environ["LOCAL_RANK"]); torch.cuda.set_device(rank); dist.init_process_group("nccl")
net = nn.Sequential(*[nn.Sequential(nn.Linear(1024, 4096), nn.GELU(), nn.Linear(4096, 1024)) for _ in range(4)])
if sys.argv[1] == "fully_shard":
    from torch.distributed.fsdp import fully_shard
    [fully_shard(block) for block in net]; fully_shard(net); net.cuda()
elif sys.argv[1] == "FSDP":
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy
    net = FullyShardedDataParallel(
        net, auto_wrap_policy=ModuleWrapPolicy({nn.Sequential}), device_id=rank, sync_module_states=True)
else:
    net = nn.parallel.DistributedDataParallel(net.cuda(), device_ids=[rank])
optimizer = torch.optim.AdamW(net.parameters())
for _ in range(3):
    net(torch.randn(8, 1024, device="cuda")).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
dist.barrier(); dist.destroy_process_group()
"""
LIGHTNING = """
import lightning, torch
from torch import nn

class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__(); self.net = nn.Linear(64, 10)

    def training_step(self, batch, _):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss, sync_dist=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())

data = torch.utils.data.TensorDataset(torch.randn(64, 64), torch.zeros(64, dtype=torch.long))
trainer = lightning.Trainer(accelerator="gpu", devices=2, strategy="ddp", max_epochs=2, logger=False,
    enable_progress_bar=False, enable_model_summary=False)
trainer.fit(Net(), torch.utils.data.DataLoader(data, batch_size=8))
said = trainer.strategy.broadcast(f"by {trainer.global_rank}")
open(f"{trainer.global_rank}.txt", "w").write(f"{trainer.global_step} {said}")
"""


def torchrun(simulate: Simulate, number: int, script: str, *arguments: str) -> Ended:
    """Run a script in ranks, each on a GPU of its own."""
    launcher = str(Path(sys.executable).with_name("torchrun"))
    ranks = ("--standalone", "--nproc-per-node", str(number))
    flags = ("--count", str(number))
    return simulate(launcher, *ranks, "SCRIPT", *arguments, script=script, flags=flags)


def of_ranks(folder: Path, number: int) -> list[Any]:
    """Return what each rank has told."""
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(number)]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Run ranks that send each other messages of all kinds; return what each got."""
    try:
        library()
    except HarnessError as error:
        pytest.skip(str(error))
    simulate = Simulate(tmp_path_factory.mktemp("ranks"))
    ended = torchrun(simulate, RANKS, MESSAGES)
    assert 0 == ended.code, ended.errors
    return of_ranks(simulate.folder, RANKS)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("broadcast objects", [99, {"of": 0}]),
        ("large object", [300_000, 249]),
        ("gathered objects", [10, 1010, 2010]),
        ("SUM", [6, 15]),
        ("MAX", [3, 5]),
        ("MIN", [1, 5]),
        ("PRODUCT", [6, 125]),
        ("AVG", [1.0]),
        ("barrier", True),
        # What a kernel has written nobody knows.
        ("large tensor", [0.0]),
    ],
)
def test_all_ranks_get_the_same(told: list[Any], message: str, expected: Any) -> None:
    """Objects of any size, and numbers that came from the host, reach every rank."""
    assert RANKS * [expected] == [of_rank[message] for of_rank in told]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("objects of rank 0", [[0, 1, 2], None, None]),
        ("scattered objects", [["for 0"], ["for 1"], ["for 2"]]),
        ("sent objects", [[7, "seven"], [7, "seven"], [None, None]]),
        ("reduce_scatter", [[0, 3], [6, 9], [12, 15]]),
        ("all_to_all", [[0, 100, 200], [1, 101, 201], [2, 102, 202]]),
        ("from the left", [[2], [0], [1]]),
        ("pair", [[0, 2], None, [0, 2]]),
    ],
)
def test_each_rank_gets_its_own(told: list[Any], message: str, expected: Any) -> None:
    """Pieces, messages from rank to rank, and those of a group find the ranks they are for."""
    assert expected == [of_rank.get(message) for of_rank in told]


@pytest.mark.slow
def test_ranks_of_split_communicators_find_each_other(simulate: Simulate) -> None:
    """NcclCommSplit makes groups of a mesh from one communicator."""
    ended = torchrun(simulate, 4, SPLIT)
    assert 0 == ended.code, ended.errors
    expected = [[[0, 2], [0, 1]], [[1, 3], [0, 1]], [[0, 2], [2, 3]], [[1, 3], [2, 3]]]
    assert expected == of_ranks(simulate.folder, 4)


def test_message_of_a_rank_that_has_ended_is_not_waited_for(simulate: Simulate) -> None:
    """The reader fails with CUDA's error, and standard error tells whose message is missing."""
    ended = simulate(sys.executable, "SCRIPT", script=LEFT_ALONE, flags=("--count", "2"))
    assert 0 == ended.code, ended.errors
    assert (
        "simulated NCCL: rank 0 waits for a message of rank 1, whose process has ended: "
        "see what rank 1 has printed"
    ) in ended.errors
    assert "the launch timed out and was terminated" in ended.errors


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fully_shard", "FSDP", "DDP"])
def test_sharded_trainings_train(simulate: Simulate, kind: str) -> None:
    """A sharded rank holds less than the whole model with its gradients and moments."""
    ended = torchrun(simulate, 2, SHARDED, kind)
    assert 0 == ended.code, ended.errors
    # Weights, gradients and two moments, of four blocks with two matrices each.
    whole = 4 * 4 * 4 * 2 * 1024 * 4096
    peaks = [process["peak_allocated_bytes"] for process in ended.told["processes"]]
    assert 2 * [kind == "DDP"] == [peak > whole for peak in peaks]


@pytest.mark.slow
def test_lightning_trains_two_ranks(simulate: Simulate) -> None:
    """Its DDP over NCCL broadcasts objects before it begins, and here after its end."""
    pytest.importorskip("lightning")
    ended = simulate(sys.executable, "SCRIPT", script=LIGHTNING, flags=("--count", "2"))
    assert 0 == ended.code, ended.errors
    assert 2 * ["8 by 0"] == [(simulate.folder / f"{rank}.txt").read_text() for rank in (0, 1)]
