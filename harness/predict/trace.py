"""What a training allocates and frees, in its order, at one batch size or at any. Pure: no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


class TraceMismatchError(HarnessError):
    """Two traces of one workload do not have the same events: no third one follows from them."""


def live_bytes(sizes: Sequence[int], events: Iterable[int]) -> Iterator[int]:
    """Yield the bytes that are live after each event of a trace whose blocks have these sizes."""
    return accumulate(sizes[event] if event >= 0 else -sizes[~event] for event in events)


class Mark(NamedTuple):
    """Where a phase begins."""

    event: int
    """Index of the first event that belongs to it."""
    phase: str
    """`model`, `step 1 forward`, `step 2 optimizer`, `validation`, ..."""


class Block(NamedTuple):
    """One allocation, as the training asks for it."""

    num_bytes: int
    kind: str
    """parameter, gradient, optimizer, activation, input, workspace (of cuBLAS, for good) or scratch (of one operator)."""
    module: str
    """Dotted name of the module in whose forward it was made, empty outside of all; of scratch what takes it."""


@dataclass(frozen=True)
class Trace:
    """The allocations and frees of a training at one batch size."""

    batch_size: int
    blocks: tuple[Block, ...]
    """All allocations, in their order."""
    events: tuple[int, ...]
    """Indices of `blocks`: i allocates block i, ~i (that is, -i - 1) frees it."""
    marks: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What the trace does not tell as it would be on the GPU."""

    @property
    def peak_bytes(self) -> int:
        """The bytes that are live when most are, without what an allocator adds."""
        return max(live_bytes([block.num_bytes for block in self.blocks], self.events), default=0)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for JSON; names are kept once each."""
        names = sorted({name for block in self.blocks for name in (block.kind, block.module)})
        index = {name: number for number, name in enumerate(names)}
        return {
            "batch_size": self.batch_size,
            "names": names,
            "blocks": [[size, index[kind], index[module]] for size, kind, module in self.blocks],
            "events": list(self.events),
            "marks": [list(mark) for mark in self.marks],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Trace:
        """Rebuild what `to_json` gave."""
        names = data["names"]
        return cls(
            data["batch_size"],
            tuple(Block(size, names[kind], names[module]) for size, kind, module in data["blocks"]),
            tuple(data["events"]),
            tuple(Mark(event, phase) for event, phase in data["marks"]),
            tuple(data["notes"]),
        )


class AnyBatch(Protocol):
    """What a training allocates and frees at whatever batch size is asked for."""

    def at(self, batch_size: int) -> Trace:
        """Return its trace at a batch size."""


@dataclass(frozen=True)
class AffineTrace:
    """A trace in which every size is affine in the batch size: of two that were recorded, and of any between or beyond.

    Raises TraceMismatchError when the two have not the same events, block for block.
    """

    small: Trace
    large: Trace

    def __post_init__(self) -> None:
        if self.small.batch_size >= self.large.batch_size:
            raise ValueError("the second trace must be of a larger batch")
        if self.small.events != self.large.events:
            raise TraceMismatchError(
                f"training takes other steps at batch {self.small.batch_size} ({len(self.small.events)} allocations and "
                f"frees) than at {self.large.batch_size} ({len(self.large.events)})"
            )

    def at(self, batch_size: int) -> Trace:
        """Return the trace at a batch size."""
        blocks = zip(self.sizes(batch_size), self.small.blocks, strict=True)
        return replace(
            self.small,
            batch_size=batch_size,
            blocks=tuple(Block(size, block.kind, block.module) for size, block in blocks),
        )

    def sizes(self, batch_size: int) -> list[int]:
        """Return the bytes of each block at a batch size, rounded up where the line is between two numbers."""
        first, second = self.small.batch_size, self.large.batch_size
        run, ahead = second - first, batch_size - first
        return [
            max(0, small.num_bytes - (small.num_bytes - large.num_bytes) * ahead // run)
            for small, large in zip(self.small.blocks, self.large.blocks, strict=True)
        ]


class DirectTraces:
    """Traces that are each taken when they are asked for: of a training whose steps depend on the batch size."""

    def __init__(self, take: Callable[[int], Trace]) -> None:
        self._take = take
        self._known: dict[int, Trace] = {}

    def at(self, batch_size: int) -> Trace:
        """Return the trace at a batch size; each is taken once."""
        if batch_size not in self._known:
            self._known[batch_size] = self._take(batch_size)
        return self._known[batch_size]
