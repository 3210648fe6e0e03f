"""From the allocator's history to what holds the memory at its peak. Pure: knows no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.held_memory.user_code import recomputes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.held_memory.user_code import UserCode

KINDS = (
    "parameter",
    "gradient",
    "optimizer",
    "workspace",
    "input",
    "activation",
    "activation gradient",
)
# Kinds that are counted as a whole, whatever the module.
_WHOLE = ("parameter", "gradient", "optimizer", "input")
_STEP = "step "
_END = "end"


class Mark(NamedTuple):
    """From this event on, new blocks are of a kind, a module and a line of the user's."""

    event: int
    kind: str
    module: str
    line: str


class Label(NamedTuple):
    """The block that is live at an address before this event is of a kind."""

    event: int
    address: int
    kind: str


class PhaseMark(NamedTuple):
    """A phase begins with this event."""

    event: int
    phase: str


@dataclass
class Block:
    """One allocation."""

    num_bytes: int
    kind: str
    module: str
    line: str


class History:
    """The allocations and frees of a training, and for whom they were.

    Args:
        entries: torch's, in their order. Only `alloc` and `free_requested` count as events: so does
            torch itself count what is allocated.
        before: the blocks that were there before, by address.

    """

    def __init__(self, entries: Sequence[Mapping[str, Any]], before: Mapping[int, int]) -> None:
        self.entries = [
            entry for entry in entries if entry["action"] in ("alloc", "free_requested")
        ]
        self.before = before
        self.blocks: list[Block] = []
        self.events: list[int] = []
        """Indices of `blocks`: i allocates block i, ~i (that is, -i - 1) frees it."""

    def attribute(
        self, marks: Sequence[Mark], labels: Sequence[Label], user_code: UserCode
    ) -> None:
        """Find out for whom each block is.

        marks, labels: in the order of their events.
        """
        live = {
            address: self._add(Block(size, "activation", "", ""))
            for address, size in self.before.items()
        }
        # These were made before the first event.
        at_mark, at_label, mark = 0, 0, Mark(0, "activation", "", "")
        for number, entry in enumerate([*self.entries, None]):
            while at_mark < len(marks) and marks[at_mark].event <= number:
                mark, at_mark = marks[at_mark], at_mark + 1
            while at_label < len(labels) and labels[at_label].event <= number:
                self._relabel(live, labels[at_label])
                at_label += 1
            if entry is None:
                break
            if entry["action"] == "alloc":
                live[entry["addr"]] = self._add(_block(entry, mark, user_code))
                self.events.append(live[entry["addr"]])
            else:
                freed = live.pop(entry["addr"], None)
                if freed is None:  # it was made before, and nothing told of it
                    freed = self._add(Block(0, "activation", "", ""))
                self.events.append(~freed)

    def name_freed(self, since: int, until: int, kind: str, module: str) -> None:
        """Set the kind and the module of what was freed from one event until another."""
        for event in self.events[since:until]:
            if event < 0:
                block = self.blocks[~event]
                block.kind, block.module, block.line = kind, module, ""

    def summary(self, phases: Sequence[PhaseMark], end: int) -> dict[str, Any]:
        """Return the holders at the peak and the timeline of the last step, as plain data.

        end: the number of the events that count.
        """
        peak, at, live = self.at_peak(end)
        holders: Counter[tuple[str, str, str]] = Counter()
        for one in live:
            block = self.blocks[one]
            holders[block.kind, block.module, block.line] += block.num_bytes
        passed = [mark.phase for mark in phases if mark.event < at or not mark.event]
        return {
            "peak_bytes": peak,
            "phase": passed[-1] if passed else "",
            "holders": [
                [*names, size]
                for names, size in sorted(holders.items(), key=lambda one: (-one[1], one[0]))
                if size
            ],
            "timeline": self._timeline(phases, end),
        }

    def at_peak(self, end: int | None = None) -> tuple[int, int, set[int]]:
        """Return the peak in bytes, the number of events before it, and the blocks live at it.

        end: the number of the events that count; None: all. Blocks are indices of `blocks`; those
        that were there before come first.
        """
        live = set(range(len(self.before)))
        held = sum(self.blocks[one].num_bytes for one in live)
        peak, at = held, 0
        for number, event in enumerate(self.events[:end]):
            held += self._change(event)
            if held > peak:
                peak, at = held, number + 1
        for event in self.events[:at]:
            (live.add if event >= 0 else live.discard)(event if event >= 0 else ~event)
        return peak, at, live

    def _timeline(self, phases: Sequence[PhaseMark], end: int) -> dict[str, Any]:
        """Return the last step: what is live before it, and the kind and bytes of each event."""
        steps = [mark.phase.split()[1] for mark in phases if mark.phase.startswith(_STEP)]
        own = f"{_STEP}{steps[-1]} " if steps else _STEP
        parts = [number for number, mark in enumerate(phases) if mark.phase.startswith(own)]
        if parts:
            start = phases[parts[0]].event
            after = [mark.event for mark in phases[parts[-1] + 1 :]]
            end = min([end, *after])
        else:
            start = end
        live = dict.fromkeys(KINDS, 0)
        for block in self.blocks[: len(self.before)]:
            live[block.kind] += block.num_bytes
        for event in self.events[:start]:
            live[self._kind(event)] += self._change(event)
        inside = [phases[number] for number in parts]
        return {
            "kinds": list(KINDS),
            "start": list(live.values()),
            "events": [
                [KINDS.index(self._kind(event)), self._change(event)]
                for event in self.events[start:end]
            ],
            "phases": [
                [max(0, mark.event - start), mark.phase.removeprefix(own)] for mark in inside
            ],
        }

    def _add(self, block: Block) -> int:
        self.blocks.append(block)
        return len(self.blocks) - 1

    def _relabel(self, live: Mapping[int, int], label: Label) -> None:
        number = live.get(label.address)
        if number is not None:
            block = self.blocks[number]
            block.kind, block.module, block.line = label.kind, "", ""

    def _change(self, event: int) -> int:
        return self.blocks[event].num_bytes if event >= 0 else -self.blocks[~event].num_bytes

    def _kind(self, event: int) -> str:
        return self.blocks[event if event >= 0 else ~event].kind


def _block(entry: Mapping[str, Any], mark: Mark, user_code: UserCode) -> Block:
    """Return the block that an allocation makes."""
    kind, module, line = mark[1:]
    if kind in _WHOLE:
        return Block(entry["size"], kind, "", "")
    frames = entry.get("frames", ())
    if kind == "activation gradient" and recomputes(frames):
        # A function that is no module, and that activation checkpointing runs again.
        kind = "activation"
    return Block(entry["size"], kind, module, user_code.line(frames) or line)


def active_blocks(segments: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """Return the requested bytes of the blocks that are live in a snapshot, by address."""
    return {
        block["address"]: block.get("requested_size", block["size"])
        for segment in segments
        for block in segment["blocks"]
        if block["state"] == "active_allocated"
    }
