"""Trainings that span GPUs by means of torch alone, as under torchrun."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

# No number of ranks of the tests divides it.
WIDTH = 1001


class Block(nn.Module):
    """A part that is sharded by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what goes on."""
        outputs: torch.Tensor = self.narrow(nn.functional.gelu(self.wide(inputs)))
        return inputs + outputs


def wrapped(kind: str, model: nn.Sequential) -> Any:
    """Return the model, spread over all ranks."""
    ranks = dist.get_world_size()
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp1":
        return FullyShardedDataParallel(model, auto_wrap_policy=ModuleWrapPolicy({Block}))
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415 - new in torch 2.6

    if kind == "hsdp":
        mesh = init_device_mesh("cuda", (2, ranks // 2), mesh_dim_names=("replicas", "shards"))
    else:
        mesh = init_device_mesh("cuda", (ranks,))
    for part in model:
        fully_shard(part, mesh=mesh)
    return fully_shard(model, mesh=mesh)


class Spread:
    """A training whose model is spread over all ranks: ddp, fsdp1, fsdp2 or hsdp."""

    def __init__(
        self,
        batch_size: int,
        device: torch.device,
        kind: str = "fsdp2",
        width: int = WIDTH,
        accumulate: int = 1,
    ) -> None:
        if not dist.is_initialized():
            dist.init_process_group("nccl")
        torch.cuda.set_device(device)
        with device:  # where it costs no time and no memory, if the GPU is simulated
            model = nn.Sequential(
                nn.Linear(16, width), Block(width), Block(width), nn.Linear(width, 2)
            )
        self.model = wrapped(kind, model)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.batch_size, self.device, self.accumulate = batch_size, device, accumulate

    def step(self) -> torch.Tensor:
        """Take an optimizer step; all micro-batches but the last one keep their gradients here."""
        self.optimizer.zero_grad()
        loss = torch.zeros(())
        for number in range(self.accumulate):
            inputs = torch.zeros(self.batch_size, 16).to(self.device)
            labels = torch.zeros(self.batch_size, dtype=torch.long).to(self.device)
            if number < self.accumulate - 1:
                with self.model.no_sync():  # of DDP and FSDP1
                    early = nn.functional.cross_entropy(self.model(inputs), labels)
                    early.backward()  # type: ignore[no-untyped-call] # untyped in torch
                continue
            loss = nn.functional.cross_entropy(self.model(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call] # untyped in torch
        self.optimizer.step()
        return loss


class Talking(Spread):
    """Its ranks talk before they train, and each of them finds that all have answered."""

    def __init__(self, batch_size: int, device: torch.device) -> None:
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=timedelta(seconds=20))
        torch.cuda.set_device(device)
        self.ranks = dist.get_world_size()
        self.check(torch.ones(3).to(device))
        self.check(torch.ones(3))
        halves = [list(range(self.ranks // 2)), list(range(self.ranks // 2, self.ranks))]
        groups = [
            dist.new_group(half, backend=kind) for half in halves for kind in ("gloo", "nccl")
        ]
        dist.barrier(groups[1])
        counts = torch.arange(self.ranks).to(device)
        received = torch.empty_like(counts)
        dist.all_to_all_single(received, counts)
        require(self.ranks * (self.ranks - 1) // 2, int(received.cpu().sum()))
        super().__init__(batch_size, device, "ddp")

    def check(self, ones: torch.Tensor) -> None:
        """Talk by tensors on a device, and by objects."""
        dist.all_reduce(ones)
        require([float(self.ranks)] * 3, ones.tolist())
        largest = ones.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        require(ones.tolist(), largest.tolist())
        gathered = [torch.empty_like(ones) for _ in range(self.ranks)]
        dist.all_gather(gathered, ones)
        require(self.ranks * [ones.tolist()], [one.tolist() for one in gathered])
        objects: list[Any] = self.ranks * [None]
        dist.all_gather_object(objects, {"lengths": [3, 4]})
        require(self.ranks * [{"lengths": [3, 4]}], objects)
        told: list[Any] = [{"seed": 7}]
        dist.broadcast_object_list(told, src=0)
        require([{"seed": 7}], told)
        dist.broadcast(ones, src=self.ranks - 1)
        dist.barrier()


def require(expected: object, actual: object) -> None:
    """Raise where a rank was told something else."""
    if expected != actual:
        raise ValueError(f"{actual} is not {expected}")


class Pipeline:
    """A pipeline: each rank has another stage, and the last one is the widest."""

    def __init__(self, batch_size: int, device: torch.device) -> None:
        from torch.distributed.pipelining import PipelineStage, ScheduleGPipe  # noqa: PLC0415

        dist.init_process_group("nccl")
        torch.cuda.set_device(device)
        self.rank, ranks = dist.get_rank(), dist.get_world_size()
        self.batch_size, self.device = batch_size, device
        width = 4096 if self.rank == ranks - 1 else 1024
        part = nn.Sequential(nn.Linear(64, width), nn.GELU(), nn.Linear(width, 64)).to(device)
        inputs = torch.zeros(batch_size // 2, 64, device=device)
        stage = PipelineStage(
            part, self.rank, ranks, device, input_args=(inputs,), output_args=(inputs,)
        )
        self.schedule = ScheduleGPipe(stage, 2, loss_fn=nn.functional.mse_loss)
        self.optimizer = torch.optim.AdamW(part.parameters())

    def step(self) -> torch.Tensor:
        """Take a step with two micro-batches."""
        batch = torch.zeros(self.batch_size, 64).to(self.device)
        self.optimizer.zero_grad()
        if self.rank:
            self.schedule.step(target=batch)
        else:
            self.schedule.step(batch)
        self.optimizer.step()
        return torch.zeros(())
