"""A training with DistributedDataParallel, as under torchrun; one rank may end in another way."""

import argparse
import os
import signal
import threading

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main() -> None:
    """Train for some steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--max-steps", type=int, default=4)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--wrong", default="")
    parser.add_argument("--which", type=int, default=1)
    parser.add_argument("--tag", help="tells these processes from those of other tests")
    parser.add_argument("--more", type=int, default=0, help="MiB that this rank holds beside")
    options = parser.parse_args()
    with_gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if with_gpu else "gloo")
    rank, local = dist.get_rank(), int(os.environ["LOCAL_RANK"])
    device = torch.device("cuda", local) if with_gpu else torch.device("cpu")
    if with_gpu:
        torch.cuda.set_device(device)
    inputs = torch.randn(65536, 16)
    data = TensorDataset(inputs, (inputs[:, 0] > 0).long())
    layers = nn.Sequential(nn.Linear(16, options.width), nn.GELU(), nn.Linear(options.width, 2))
    model = nn.parallel.DistributedDataParallel(layers.to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(data, options.batch_size, sampler=DistributedSampler(data))
    held = []
    for step, (batch, labels) in enumerate(loader, 1):
        if rank == options.which and step == 2:
            if options.more:
                held.append(torch.ones(options.more << 18, device=device))
            misbehave(options.wrong, device)
        loss = nn.functional.cross_entropy(model(batch.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == options.max_steps:
            break
    dist.barrier()
    dist.destroy_process_group()


def misbehave(what: str, device: torch.device) -> None:
    """Do to this rank what the test asks for."""
    if what == "runs-out":
        torch.ones(1 << 40, device=device)
    elif what == "catches-oom":
        try:
            torch.ones(1 << 40, device=device)
        except RuntimeError as error:
            print(f"trying again after {error}"[:60], flush=True)
            threading.Event().wait()
    elif what == "raises":
        raise ValueError("not this one")
    elif what == "is-killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "exits":
        os._exit(7)


if __name__ == "__main__":
    main()
