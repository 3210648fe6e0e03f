"""Limits the GPU memory of an ordinary test: the mark `gpu_memory`.

Runs in pytest's process, in which the test itself uses CUDA.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import HarnessError
from harness.held_memory.memory_history import History, active_blocks
from harness.held_memory.user_code import UserCode
from harness.units import format_bytes, parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USAGE = '@pytest.mark.gpu_memory("2 GiB")'
NO_GPU = (
    "torch sees no CUDA GPU, so the mark gpu_memory has nothing to measure; without one, "
    "`gpu-profile simulate --gpu h100 -- pytest` counts the memory of torch's CUDA build"
)
# With its stack an entry takes 2 KB of the host.
_MAX_ENTRIES = 500_000
_SHOWN = 5
_BEFORE = "held before the test began"
_NO_LINE = "no line of Python, such as a backward pass"


def limit_of(arguments: Sequence[object], named: Mapping[str, object]) -> int:
    """Return the limit, in bytes, that a mark's arguments give. Raises HarnessError."""
    values = [*arguments, *named.values()]
    if len(values) != 1 or {*named} - {"limit"}:
        raise HarnessError(f"the mark gpu_memory takes one limit: {USAGE}")
    try:
        return parse_size(values[0])
    except ValueError as error:
        raise HarnessError(f"the mark gpu_memory: {error}") from None


def sees_gpu() -> bool:
    """Return whether torch sees a GPU, real or simulated."""
    return torch.cuda.is_available()


class MarkedTest:
    """Measures the GPU memory that a test takes, from its set-up until its end.

    The peak is that of torch's allocator on one GPU, in bytes of tensors. It includes what was held
    before, and no other process.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._before: list[dict[int, int]] = []

    def start(self) -> None:
        """Make the allocators keep a history, and count their peaks anew."""
        torch.cuda.init()  # type: ignore[no-untyped-call] # untyped in torch
        devices = range(torch.cuda.device_count())
        segments = torch.cuda.memory._snapshot()["segments"]  # noqa: SLF001 - documented
        self._before = [
            active_blocks(one for one in segments if one["device"] == device) for device in devices
        ]
        for device in devices:
            torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.memory._record_memory_history(  # noqa: SLF001 - documented
            context="alloc", stacks="python", max_entries=_MAX_ENTRIES
        )

    def stop(self) -> None:
        """End the history."""
        torch.cuda.memory._record_memory_history(enabled=None)  # noqa: SLF001 - documented

    @property
    def peaks(self) -> list[int]:
        """The peak of each GPU so far, in bytes."""
        return [
            torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count())
        ]

    def ran_out(self, error: BaseException) -> bool:
        """Return whether an error says that a GPU's memory was not enough."""
        return isinstance(error, torch.cuda.OutOfMemoryError)

    def excess(self) -> str | None:
        """Return in words that a GPU's peak exceeds the limit, and what held it; None if none."""
        peaks = self.peaks
        device = max(range(len(peaks)), key=peaks.__getitem__)
        if peaks[device] <= self.limit_bytes:
            return None
        where = f" on cuda:{device}" if len(peaks) > 1 else ""
        title = (
            f"the test took {format_bytes(peaks[device])} of GPU memory{where}, and "
            f"{format_bytes(self.limit_bytes)} are allowed"
        )
        return "\n".join([title, *self.holders(device)])

    def holders(self, device: int = 0) -> list[str]:
        """Return lines on what held the memory at the peak, the largest first."""
        traces = torch.cuda.memory._snapshot()["device_traces"]  # noqa: SLF001 - documented
        peak, held = held_at_peak(traces[device], self._before[device], UserCode())
        if peak < torch.cuda.memory_stats(device)["requested_bytes.all.peak"]:
            return ["what held it is not known: the test has itself recorded the memory's history"]
        rows = [(format_bytes(size), line) for line, size in held.most_common(_SHOWN)]
        rest = held.total() - sum(size for _, size in held.most_common(_SHOWN))
        if rest:
            rows.append((format_bytes(rest), f"{len(held) - _SHOWN} other lines"))
        width = max((len(size) for size, _ in rows), default=0)
        return [
            "at the peak it was held by:",
            *(f"  {size:>{width}}  {line}" for size, line in rows),
        ]


def held_at_peak(
    entries: Sequence[Mapping[str, Any]], before: Mapping[int, int], user_code: UserCode
) -> tuple[int, Counter[str]]:
    """Return the peak in bytes, and what each line of the user's code held at it.

    entries: the allocator's history, in its order, with stacks.
    before: the bytes of what was held before, by address.
    """
    history = History(entries, before)
    history.attribute([], [], user_code)
    peak, _, live = history.at_peak()
    holders: Counter[str] = Counter()
    for one in live:
        block = history.blocks[one]
        holders[_BEFORE if one < len(before) else block.line or _NO_LINE] += block.num_bytes
    return peak, holders
