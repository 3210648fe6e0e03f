"""Runs one part of an experiment in a process: `python -m cuda_experiments.children NAME`.

Reads its request as JSON from the standard input, and prints its answer as one line of JSON. With
the name `serve` it forks for each of the requests that it reads, a line each.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from cuda_experiments import failing, large, training, workspaces

_PR_SET_PDEATHSIG = 1


def memory() -> dict[str, int]:
    """Return the memory that this process and its device hold."""
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


def stages() -> dict[str, Any]:
    """Start context, cuBLAS and training in turn, and record the memory that each adds."""
    device = torch.device("cuda")
    seen: list[dict[str, Any]] = []

    def see(stage: str) -> None:
        seen.append({"stage": stage, **memory()})

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
    properties = torch.cuda.get_device_properties(0)
    return {
        "stages": seen,
        "torch": torch.__version__,
        "name": properties.name,
        "total_memory": properties.total_memory,
        "uuid": str(getattr(properties, "uuid", None)),
        "multiprocessors": properties.multi_processor_count,
        "capability": torch.cuda.get_device_capability(0),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "TF32": [torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32],
        "statistics": sorted(torch.cuda.memory_stats(0)),
        "workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


def fork(*, before: str) -> dict[str, Any]:
    """Do the action `before`, fork, and train a step in the child."""
    if before.startswith("is_available"):
        torch.cuda.is_available()
    elif before == "device_count":
        torch.cuda.device_count()
    elif before == "mem_get_info":
        torch.cuda.mem_get_info(0)
    elif before.startswith("backward"):
        with torch.autograd.set_multithreading_enabled("without threads" not in before):
            torch.ones(2, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]
    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(_after_fork()).encode())
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


def _after_fork() -> dict[str, Any]:
    bad = torch.cuda._is_in_bad_fork()  # noqa: SLF001 - gpu-profile may use it
    try:
        layer = nn.Linear(8, 8).to("cuda")
        layer(torch.ones(2, 8, device=layer.weight.device)).sum().backward()
    except Exception as error:  # noqa: BLE001 - the answer is the error
        return {"bad_fork": bad, "trains": False, "error": f"{type(error).__name__}: {error}"[:500]}
    return {"bad_fork": bad, "trains": True}


def hold(*, num_bytes: int | None) -> dict[str, Any]:
    """Hold memory, print how much, and compute until killed; None holds all of the device."""
    kept: list[torch.Tensor] = []
    device = torch.device("cuda")
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
    "rows": failing.rows,
    "fail": failing.fail,
    "record": workspaces.record,
    "operations": large.operations,
    "large": large.cross,
    "steps": training.steps,
    "tuner": training.tuner,
}


def answer(name: str, request: dict[str, Any], descriptor: int) -> int:
    """Answer a request by a line in a file; return the exit code."""
    try:
        answer_to = CHILDREN[name]
        line = json.dumps(answer_to(**request))  # type: ignore[operator] # arguments differ
        with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as output:
            output.write("\n" + line + "\n")
    except BaseException:  # noqa: BLE001 - the traceback is for the parent
        traceback.print_exc()
        return 1
    return 0


def serve(modules: list[str]) -> None:
    """Fork for each request, and print how it ended.

    modules: what the requests import, so that only this process takes the time for it.
    """
    for module in modules:
        with suppress(ImportError):  # what needs it will say so
            importlib.import_module(module)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(_forked(**asked)), flush=True)


def _forked(name: str, request: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Answer one request in a fork that may take some seconds; return as `processes.ended` does."""
    started = time.monotonic()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        die_with_the_parent()
        os.dup2(2, 1)  # what it prints is no answer
        code = answer(name, request, writer)
        sys.stderr.flush()
        # At once: a broken CUDA context may not allow cleaning up.
        os._exit(code)
    os.close(writer)
    text, timed_out = b"", False
    # Not the end of the pipe: processes that it started may hold that open.
    while text.count(b"\n") < 2:
        left = started + timeout - time.monotonic()
        if not select.select([reader], [], [], max(0.0, left))[0]:
            timed_out = True
            break
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            break
        text += chunk
    os.close(reader)
    if timed_out:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    fact = {
        "answer": json.loads(text) if text.count(b"\n") == 2 else None,
        "exit_code": status,
        "seconds": round(time.monotonic() - started, 2),
    }
    return fact | ({"timed_out": timeout} if timed_out else {})


def die_with_the_parent() -> None:
    """Make the kernel end this process when its parent has ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Answer one request, or serve many, and exit at once."""
    die_with_the_parent()
    if sys.argv[1] == "serve":
        serve(sys.argv[2:])
        return
    code = answer(sys.argv[1], json.load(sys.stdin), 1)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
