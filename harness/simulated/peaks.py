"""Reads what a process needed of a GPU at most, and where its program was then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.simulated.layout import RawPeak

# In the order of `Phase` in world.h.
_PHASES = (None, "forward pass", "backward pass", "optimizer step")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a program: the innermost one of the user's own, where there is one."""

    file: str
    line: int
    function: str
    phase: str | None
    """`forward pass`, `backward pass` or `optimizer step`, as far as torch's frames tell."""


@dataclass(frozen=True, slots=True)
class Peak:
    """What a process needed of one GPU at most; it may have ended since."""

    pid: int
    gpu: int
    """The place in the world."""
    rank: int | None
    """RANK, as a launcher set it."""
    local_rank: int | None
    """LOCAL_RANK."""
    reserved_bytes: int
    """What it held beyond its CUDA context: torch's reserved memory, and what others took."""
    allocated_bytes: int | None
    """What torch's tensors had, by torch's own count; None where its allocator does not tell."""
    refused: int
    """Allocations that did not fit. torch frees what it keeps after one, and tries again."""
    where: Place | None = None
    """Where the program was when it held the most; None: nobody has looked (`inside`)."""


def peak_of(raw: RawPeak, context_bytes: int) -> Peak:
    """Return what an entry of the world's file tells, without the CUDA context."""
    # Less than a context: it was refused.
    reserved = max(0, raw.held - context_bytes)
    return Peak(
        pid=raw.pid,
        gpu=raw.gpu,
        rank=None if raw.rank < 0 else raw.rank,
        local_rank=None if raw.local_rank < 0 else raw.local_rank,
        reserved_bytes=reserved,
        # Who reserved nothing has allocated nothing, whether or not the allocator tells.
        allocated_bytes=raw.allocated or (None if reserved else 0),
        refused=raw.refused,
        where=_place(raw) if raw.line else None,
    )


def _place(raw: RawPeak) -> Place:
    return Place(
        raw.file.decode(errors="replace"),
        raw.line,
        raw.function.decode(errors="replace"),
        _PHASES[raw.phase],
    )
