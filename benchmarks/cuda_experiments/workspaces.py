"""The child side of experiments 11 to 13: reads each convolution's allocations from the history.

Each block that torch's allocator hands out and gets back within one convolution is listed in its
row: cuDNN's workspace, and copies of operands in another memory format. A backward pass is split
into its gradients, so that each has a row of its own; that of the bias is a sum, and has none.
"""

from __future__ import annotations

import json
import signal
import time
from contextlib import nullcontext
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cuda_experiments.convolutions import COLUMNS, KINDS
from cuda_experiments.networks import NETWORKS
from harness.workload.build import instantiate

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cuda_experiments.networks import Network

_MAX_ENTRIES = 200_000
# Kills the process of a network that hangs; the parent goes on with the next one.
_NETWORK_SECONDS = 60
_NUM_PLAIN_STEPS = 2
_FORWARD = torch.ops.aten.convolution.default
_BACKWARD = torch.ops.aten.convolution_backward.default
_GRADIENTS = ("dgrad", "wgrad", "of the bias")


class ConvolutionWatch(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it so
    """Notes for each convolution its facts, and the allocations and frees so far around it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[list[Any], tuple[int, int], tuple[int, int]]] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operator of the step."""
        del types
        if operator is _FORWARD:
            image, weight, bias, *settings = args
            facts = _facts("fprop", [image, weight], bias, settings)
            return self._around(facts, operator, args)
        if operator is _BACKWARD:
            gradient, image, weight, bias_sizes, *settings, mask = args
            given: list[Any] = [None, None, None]
            for place, kind in enumerate(_GRADIENTS):
                if mask[place]:
                    alone = [place == other for other in range(3)]
                    facts = _facts(kind, [image, weight, gradient], None, settings)
                    given[place] = self._around(
                        facts, operator, (gradient, image, weight, bias_sizes, *settings, alone)
                    )[place]
            return tuple(given)
        return operator(*args, **(kwargs or {}))

    def _around(self, facts: list[Any], operator: Any, args: Any) -> Any:
        before = _counts()
        result = operator(*args)
        if facts[0] in KINDS:
            self.seen.append((facts, before, _counts()))
        return result


def record(*, networks: list[str], batch_size: int, dtype: str) -> dict[str, Any]:
    """Train networks on the GPU, and print the peak and the convolutions of each in a JSON line.

    dtype: `float32`, or a dtype of autocast. Before each network a line has its name as `begins`.
    """
    # Only allocators that exist already have statistics and a history.
    torch.cuda.init()  # type: ignore[no-untyped-call] # torch leaves it untyped
    for name in networks:
        print(json.dumps({"begins": name}), flush=True)
        signal.alarm(_NETWORK_SECONDS)
        started = time.monotonic()
        try:
            fact = _trained(NETWORKS[name], batch_size, dtype)
        except Exception as error:  # noqa: BLE001 - the other networks go on
            fact = {"error": f"{type(error).__name__}: {error}"[:500]}
        signal.alarm(0)
        fact["seconds"] = round(time.monotonic() - started, 2)
        print(json.dumps({"network": name, "fact": fact}), flush=True)
    return {"ends": True}


def _trained(network: Network, batch_size: int, dtype: str) -> dict[str, Any]:
    """Train some plain steps for the peak, then one whose convolutions are watched."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(0)
    retries = torch.cuda.memory_stats(0).get("num_alloc_retries", 0)
    arguments = {} if network.name is None else {"model_name": network.name}
    with torch.device("cuda"):
        model = instantiate({"class_path": network.class_path, "init_args": arguments})
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.rand(network.shape(batch_size), device="cuda")

    def step(watch: AbstractContextManager[object]) -> None:
        with watch:
            with torch.autocast("cuda", getattr(torch, dtype), enabled=dtype != "float32"):
                given = model(images)
            outputs = [given] if isinstance(given, torch.Tensor) else [*given]
            torch.stack([output.float().mean() for output in outputs]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(_NUM_PLAIN_STEPS):
        step(nullcontext())
    torch.cuda.synchronize()
    stats = torch.cuda.memory_stats(0)
    watch = ConvolutionWatch()
    # torch has no public name for its history.
    memory = torch.cuda.memory
    memory._record_memory_history("all", context=None, max_entries=_MAX_ENTRIES)  # noqa: SLF001
    counts = _counts()
    step(watch)
    events = memory._snapshot()["device_traces"][0]  # noqa: SLF001
    memory._record_memory_history(None)  # noqa: SLF001 - ends it, and forgets what it has
    return {
        "batch_size": batch_size,
        "dtype": dtype,
        "peak_allocated_bytes": stats["allocated_bytes.all.peak"],
        "peak_reserved_bytes": stats["reserved_bytes.all.peak"],
        "retries": stats["num_alloc_retries"] - retries,
        "complete": len(events) < _MAX_ENTRIES,
        "events": len(events),
        "columns": COLUMNS,
        "rows": _rows(watch, events, counts),
    }


def _rows(
    watch: ConvolutionWatch, events: list[dict[str, Any]], counts: tuple[int, int]
) -> list[list[Any]]:
    """Join the convolutions with the events between their counts; equal ones become one row."""
    places: dict[tuple[int, int], int] = {counts: 0}
    allocated, freed = counts
    for place, event in enumerate(events):
        allocated += event["action"] == "alloc"
        freed += event["action"] == "free_completed"
        places[allocated, freed] = place + 1
    rows: dict[str, list[Any]] = {}
    for facts, before, after in watch.seen:
        row = [*facts, *_blocks(events[places[before] : places[after]])]
        rows.setdefault(json.dumps(row), [*row, 0])[-1] += 1
    return [*rows.values()]


def _blocks(events: list[dict[str, Any]]) -> tuple[list[int], int, list[int]]:
    """Return the bytes of each block that came and went, the most at once, and those that stay."""
    held: dict[int, tuple[int, int]] = {}
    changes, passing = [0] * len(events), []
    for place, event in enumerate(events):
        if event["action"] == "alloc":
            held[event["addr"]] = place, event["size"]
        elif event["action"] == "free_completed" and event["addr"] in held:
            begin, size = held.pop(event["addr"])
            passing.append(size)
            changes[begin] += size
            changes[place] -= size
    return passing, max(accumulate(changes), default=0), [size for _, size in held.values()]


def _facts(kind: str, operands: list[torch.Tensor], bias: Any, settings: list[Any]) -> list[Any]:
    stride, padding, dilation, transposed, output_padding, groups = settings
    image, weight = operands[:2]
    backend = torch._C._select_conv_backend(  # noqa: SLF001 - nothing public says it
        image, weight, bias, stride, padding, dilation, transposed, output_padding, groups
    )
    return [
        kind,
        str(image.dtype).removeprefix("torch."),
        [*image.shape],
        [*weight.shape],
        [*operands[2].shape] if len(operands) > 2 else None,
        [*stride],
        [*padding],
        [*dilation],
        bool(transposed),
        groups,
        [_format(operand) for operand in operands],
        str(backend).rpartition(".")[2],
    ]


def _format(operand: torch.Tensor) -> str:
    """Return the memory format of an operand: `both` where its shape leaves no difference."""
    plain = operand.is_contiguous()
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(operand.dim())
    if last is not None and operand.is_contiguous(memory_format=last):
        return "both" if plain else "channels_last"
    return "contiguous" if plain else "strided"


def _counts() -> tuple[int, int]:
    """Return how many blocks the allocator has handed out and got back."""
    stats = torch.cuda.memory_stats(0)
    return stats["allocation.all.allocated"], stats["allocation.all.freed"]
