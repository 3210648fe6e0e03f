"""The allocations and frees of a training, in order, at one or any batch size. Pure: no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm, prod
from operator import mul
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from harness.allocator.live import live_bytes
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class TraceMismatchError(HarnessError):
    """Two traces of one workload do not have the same events: no third one follows from them."""


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
    """parameter, gradient, optimizer, activation, input, workspace or scratch.

    cuBLAS keeps its workspace for good; an operator frees its scratch before it returns.
    """
    module: str
    """Dotted name of the module in whose forward pass the block was made.

    Outside of all modules it is the phase in words, if there is one; for scratch, its taker.
    """


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
    """Where the trace may differ from the training on the GPU."""

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
    """The allocations and frees of a training at any batch size."""

    def at(self, batch_size: int) -> Trace:
        """Return its trace at a batch size."""


class _Interpolated:
    """A trace of any batch size: each size lies on a polynomial through those of recorded traces.

    Raises TraceMismatchError when the recorded traces do not have the same events.
    """

    @property
    def traces(self) -> tuple[Trace, ...]:
        """Those that were recorded, of ascending batch sizes."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        first, *others = self.traces
        for other in others:
            _compare(first, other)

    def at(self, batch_size: int) -> Trace:
        """Return the trace at a batch size."""
        first = self.traces[0]
        blocks = zip(self.sizes(batch_size), first.blocks, strict=True)
        return replace(
            first,
            batch_size=batch_size,
            blocks=tuple(Block(size, block.kind, block.module) for size, block in blocks),
        )

    def sizes(self, batch_size: int) -> list[int]:
        """Return the bytes of each block at a batch size, rounded up to whole bytes."""
        points = [trace.batch_size for trace in self.traces]
        weights = []  # Lagrange's
        for point in points:
            others = [other for other in points if other != point]
            weights.append(
                Fraction(
                    prod(batch_size - other for other in others),
                    prod(point - other for other in others),
                )
            )
        divisor = lcm(*(weight.denominator for weight in weights))
        factors = [int(weight * divisor) for weight in weights]
        columns = zip(
            *([block.num_bytes for block in trace.blocks] for trace in self.traces), strict=True
        )
        return [max(0, -(-sum(map(mul, factors, column)) // divisor)) for column in columns]


@dataclass(frozen=True)
class AffineTrace(_Interpolated):
    """A trace in which every size is affine in the batch size, through two recorded traces."""

    small: Trace
    large: Trace

    @property
    def traces(self) -> tuple[Trace, ...]:
        """Both."""
        return self.small, self.large

    @property
    def is_outgrown(self) -> bool:
        """Whether some block grows faster than the batch size, so that no line fits.

        A block with two batch dimensions does. An affine size that is not negative at batch 0 never
        does.
        """
        first, second = self.small.batch_size, self.large.batch_size
        return any(
            small.num_bytes * second < large.num_bytes * first
            for small, large in zip(self.small.blocks, self.large.blocks, strict=True)
        )


@dataclass(frozen=True)
class QuadraticTrace(_Interpolated):
    """A trace in which sizes are quadratic in the batch size, through three recorded traces.

    The similarities of all pairs of samples have such sizes.
    """

    small: Trace
    medium: Trace
    large: Trace

    @property
    def traces(self) -> tuple[Trace, ...]:
        """All three."""
        return self.small, self.medium, self.large


def _compare(first: Trace, second: Trace) -> None:
    if first.batch_size >= second.batch_size:
        raise ValueError("each trace must be of a larger batch than the first")
    if first.events != second.events:
        raise TraceMismatchError(
            f"training takes other steps at batch {first.batch_size} ({len(first.events)} "
            f"allocations and frees) than at {second.batch_size} ({len(second.events)})"
        )


class DirectTraces:
    """Traces that are taken one by one, for a training whose steps depend on the batch size."""

    def __init__(self, take: Callable[[int], Trace], known: Iterable[Trace] = ()) -> None:
        self._take = take
        self._known = {trace.batch_size: trace for trace in known}

    def at(self, batch_size: int) -> Trace:
        """Return the trace at a batch size; each is taken once."""
        if batch_size not in self._known:
            self._known[batch_size] = self._take(batch_size)
        return self._known[batch_size]

    def aim(self, limit_bytes: int) -> int | None:
        """Return the batch size at which a line through two known peaks meets a limit.

        Return None with fewer than two traces, or when the peak does not grow.
        """
        if len(self._known) < 2:  # noqa: PLR2004 - a line goes through two points
            return None
        first, second = (self._known[size] for size in sorted(self._known)[:2])
        growth = second.peak_bytes - first.peak_bytes
        if growth <= 0:
            return None
        run = second.batch_size - first.batch_size
        return max(1, first.batch_size + (limit_bytes - first.peak_bytes) * run // growth)
