"""From a trace and a GPU to the largest batch, and what holds the memory there. Pure: no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.allocator.caching import OutOfMemoryError
from harness.allocator.live import live_bytes
from harness.allocator.replay import replay
from harness.allocator.settings import AllocatorSettings
from harness.predict.trace import DirectTraces
from harness.search.search import search

if TYPE_CHECKING:
    from harness.measurement import Outcome
    from harness.predict.trace import AnyBatch, Trace

WORKSPACE = "workspace"


@dataclass(frozen=True)
class Limits:
    """The memory of a GPU that a training may use, and how it is allocated."""

    memory_limit_bytes: int
    """Of reserved memory: the target fraction of what torch sees."""
    workspace_bytes: int
    """The bytes that cuBLAS takes once per thread."""
    settings: AllocatorSettings = field(default_factory=AllocatorSettings)


@dataclass(frozen=True)
class Simulated:
    """One batch size, replayed."""

    outcome: Outcome
    peak_memory_bytes: int
    """Reserved."""


@dataclass(frozen=True)
class Holder:
    """One kind of memory of one module, at the peak."""

    kind: str
    module: str
    num_bytes: int

    def __str__(self) -> str:
        outside = " outside of all modules" if self.kind == "activation" else ""
        return f"{self.kind} of {self.module}" if self.module else f"{self.kind}{outside}"


def largest_batch(training: AnyBatch, limits: Limits, *, maximum: int) -> int:
    """Return the largest batch size, up to `maximum`, that trains below the limit; 0 if none."""
    result = search(
        lambda batch_size: simulate(training.at(batch_size), limits),
        memory_limit_bytes=limits.memory_limit_bytes,
        max_batch_size=maximum,
        max_trials=10_000,
        # Each of these traces takes its time.
        aim=training.aim(limits.memory_limit_bytes) if isinstance(training, DirectTraces) else None,
    )
    return result.max_batch_size


def simulate(trace: Trace, limits: Limits) -> Simulated:
    """Replay a training below the limit."""
    try:
        done = replay(
            block_sizes(trace, limits), trace.events, limits.memory_limit_bytes, limits.settings
        )
    except OutOfMemoryError:
        return Simulated("oom", limits.memory_limit_bytes)
    return Simulated("fits", done.peak_reserved_bytes)


def holders_at_peak(trace: Trace, limits: Limits) -> tuple[str, list[Holder]]:
    """Return the phase in which most bytes are live, and what holds them, the largest first."""
    sizes = block_sizes(trace, limits)
    live = list(live_bytes(sizes, trace.events))
    at = live.index(max(live))
    held: Counter[tuple[str, str]] = Counter()
    for event in trace.events[: at + 1]:
        block = trace.blocks[event if event >= 0 else ~event]
        held[block.kind, block.module] += sizes[event] if event >= 0 else -sizes[~event]
    phase = next((mark.phase for mark in reversed(trace.marks) if mark.event <= at), "")
    return phase, [
        Holder(kind, module, num_bytes)
        for (kind, module), num_bytes in held.most_common()
        if num_bytes > 0
    ]


def block_sizes(trace: Trace, limits: Limits) -> list[int]:
    """Return the bytes of each block, those of cuBLAS by the GPU."""
    return [
        limits.workspace_bytes if block.kind == WORKSPACE else block.num_bytes
        for block in trace.blocks
    ]
