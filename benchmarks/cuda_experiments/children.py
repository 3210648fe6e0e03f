"""Runs one part of an experiment in a process: `python -m cuda_experiments.children NAME`.

Reads its request as JSON from the standard input, and prints its answer as one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cuda_experiments import failing, histories, large, training


def memory(*, cuda: bool) -> dict[str, int]:
    """Return the memory that this process and its device hold."""
    if not cuda:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return {
            "data_bytes": next(
                int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData")
            )
        }
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info(0)
    reserved = torch.cuda.memory_reserved(0)
    return {
        "total_bytes": total,
        "free_bytes": free,
        "allocated_bytes": torch.cuda.memory_allocated(0),
        "reserved_bytes": reserved,
        "outside_torch_bytes": total - free - reserved,
    }


def stages(*, cuda: bool) -> dict[str, Any]:
    """Start context, cuBLAS and training in turn, and record the memory that each adds."""
    device = torch.device("cuda" if cuda else "cpu")
    seen: list[dict[str, Any]] = []

    def see(stage: str) -> None:
        seen.append({"stage": stage, **memory(cuda=cuda)})

    torch.empty(1, device=device)
    see("context")
    square = torch.rand(512, 512, device=device, requires_grad=True)
    (square @ square).sum().item()
    see("cuBLAS")
    (square @ square).sum().backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    see("cuBLAS, backward")
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 62 * 62, 10)
    ).to(device)
    optimizer = torch.optim.AdamW(layers.parameters())
    for step in range(1, 4):
        loss = nn.functional.cross_entropy(
            layers(torch.rand(8, 3, 64, 64, device=device)),
            torch.zeros(8, dtype=torch.long, device=device),
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        see(f"step {step}")
    answer: dict[str, Any] = {"stages": seen, "torch": torch.__version__}
    if cuda:
        properties = torch.cuda.get_device_properties(0)
        answer |= {
            "name": properties.name,
            "total_memory": properties.total_memory,
            "uuid": str(getattr(properties, "uuid", None)),
            "capability": torch.cuda.get_device_capability(0),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "statistics": sorted(torch.cuda.memory_stats(0)),
            "workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        }
    return answer


def fork(*, cuda: bool, before: str) -> dict[str, Any]:
    """Do the action `before`, fork, and train a step in the child."""
    if before.startswith("is_available"):
        torch.cuda.is_available()
    elif before == "device_count":
        torch.cuda.device_count()
    elif before == "mem_get_info" and cuda:
        torch.cuda.mem_get_info(0)
    elif before.startswith("backward"):
        with torch.autograd.set_multithreading_enabled("without threads" not in before):
            torch.ones(2, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]
    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(_after_fork(cuda=cuda)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    return {
        "parent had started CUDA": initialized,
        "child": json.loads(answer) if answer else None,
        "exit_code": os.waitstatus_to_exitcode(status),
    }


def _after_fork(*, cuda: bool) -> dict[str, Any]:
    bad = torch.cuda._is_in_bad_fork()  # noqa: SLF001 - gpu-profile may use it
    try:
        layer = nn.Linear(8, 8).to("cuda" if cuda else "cpu")
        layer(torch.ones(2, 8, device=layer.weight.device)).sum().backward()
    except Exception as error:  # noqa: BLE001 - the answer is the error
        return {"bad_fork": bad, "trains": False, "error": f"{type(error).__name__}: {error}"[:500]}
    return {"bad_fork": bad, "trains": True}


def hold(*, cuda: bool, num_bytes: int | None) -> dict[str, Any]:
    """Hold memory, print how much, and compute until killed; None holds all of the device."""
    kept: list[torch.Tensor] = []
    device = torch.device("cuda" if cuda else "cpu")
    square = torch.rand(2048, 2048, device=device)
    square = torch.tanh(square @ square)
    if num_bytes is None:
        failing.fill()
    else:
        kept.append(torch.zeros(num_bytes, dtype=torch.uint8, device=device))
    print(json.dumps({"held": sum(one.numel() for one in kept)}), flush=True)
    deadline = time.monotonic() + 60  # in case the parent never kills it
    while time.monotonic() < deadline:
        square = torch.tanh(square @ square)
    return {"held": 0}


CHILDREN = {
    "stages": stages,
    "fork": fork,
    "hold": hold,
    "fail": failing.fail,
    "record": histories.record,
    "large": large.cross,
    "steps": training.steps,
    "tuner": training.tuner,
}


def main() -> None:
    """Answer one request, and exit at once: a broken CUDA context may not allow cleaning up."""
    code = 0
    try:
        answer_to = CHILDREN[sys.argv[1]]
        answer = answer_to(**json.load(sys.stdin))  # type: ignore[operator] # arguments differ
        sys.stdout.write("\n" + json.dumps(answer) + "\n")
    except BaseException:  # noqa: BLE001 - the traceback is for the parent
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
