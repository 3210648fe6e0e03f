"""Reads what a probe found to hold the memory at the peak. Pure: no torch."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path


# A line of numbers in the lock, which people read beside the others.
_MAX_THINNED = 32


@dataclass(frozen=True)
class Holder:
    """The memory of one kind that one line of one module holds at the peak."""

    kind: str
    """parameter, gradient, optimizer, workspace, input, activation, activation gradient or kernel.

    A gradient is a parameter's. Activation gradients are what a backward pass hands from operator
    to operator, and what its operators need meanwhile. A kernel is one that a library on the CPU
    has compiled while the training ran.
    """
    module: str
    """Dotted name of the module whose forward or backward pass took the memory.

    Outside of all modules it is the step in words; empty where the kind is counted as a whole.
    """
    line: str
    """The innermost line of the user's code, `work.py:33`; empty where there is none."""
    num_bytes: int

    def __str__(self) -> str:
        outside = " outside of all modules" if self.kind.startswith("activation") else ""
        return f"{self.kind} of {self.module}" if self.module else f"{self.kind}{outside}"


@dataclass(frozen=True)
class Timeline:
    """The live memory during the last training step, by kind."""

    live: dict[str, tuple[int, ...]]
    """Bytes of each kind before the step, and after each of its allocations and frees."""
    phases: tuple[tuple[int, str], ...]
    """Where forward, backward and optimizer begin: the number of events before, and the phase."""

    def thinned(self, most: int = _MAX_THINNED) -> tuple[int, ...]:
        """Return the live bytes of all kinds over the step: of each stretch the most.

        The stretches are equally long, at most `most` of them, so the peak is exact and the same
        step gives the same numbers.
        """
        total = [sum(sizes) for sizes in zip(*self.live.values(), strict=True)]
        width = -(-len(total) // most) or 1
        return tuple(max(total[begin : begin + width]) for begin in range(0, len(total), width))


@dataclass(frozen=True)
class PeakHolders:
    """What holds the memory of a training at its peak."""

    batch_size: int
    peak_bytes: int
    """Of live memory, as the training asks for it: without what the allocator adds."""
    phase: str
    """`step 2 backward`, `model`, `batch`, `validation`; empty before anything was allocated."""
    holders: tuple[Holder, ...]
    """The largest first; together they are the peak."""
    timeline: Timeline

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what a probe has written for `ProbeRunner.holders`."""
        data = json.loads(path.read_bytes())
        drawn = data["timeline"]
        series = [[size] for size in drawn["start"]]
        for kind, change in drawn["events"]:
            for number, sizes in enumerate(series):
                sizes.append(sizes[-1] + (change if number == kind else 0))
        return cls(
            batch_size=data["batch_size"],
            peak_bytes=data["peak_bytes"],
            phase=data["phase"],
            holders=tuple(Holder(*holder) for holder in data["holders"]),
            timeline=Timeline(
                {kind: tuple(sizes) for kind, sizes in zip(drawn["kinds"], series, strict=True)},
                tuple((event, phase) for event, phase in drawn["phases"]),
            ),
        )

    def by_kind(self) -> Counter[str]:
        """Return bytes by kind; 0 for one that holds nothing."""
        sums: Counter[str] = Counter()
        for holder in self.holders:
            sums[holder.kind] += holder.num_bytes
        return sums

    def by_name(self) -> dict[str, int]:
        """Return bytes by `activation of blocks.0`, the largest first: lines move, names stay."""
        sums: Counter[str] = Counter()
        for holder in self.holders:
            sums[str(holder)] += holder.num_bytes
        return dict(sums.most_common())

    def lines(self) -> dict[str, str]:
        """Return for each name the line of the user's code that holds most of its bytes."""
        found: dict[str, str] = {}
        for holder in self.holders:  # the largest first
            if holder.line:
                found.setdefault(str(holder), holder.line)
        return found
