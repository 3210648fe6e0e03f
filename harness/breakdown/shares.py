"""Reads the table of a profile: rows that add up to its peak exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.breakdown.table import OTHERS, kind_of, module_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.measurement import Profile

KERNEL = "kernel"
KINDS = {
    "parameter": "parameters",
    "gradient": "gradients",
    "optimizer": "optimizer state",
    "activation": "activations",
    "activation gradient": "activation gradients",
    "workspace": "workspaces",
    "input": "inputs",
    KERNEL: "compiled kernels",
}
"""The plural of each kind."""
UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Row:
    """A part of the peak."""

    kind: str
    """`activation`, or another kind of a holder, or `unexplained`."""
    module: str
    """The module in its dotted name; empty where the kind is counted as a whole."""
    num_bytes: int
    bytes_per_sample: int | None
    """None where that is not known."""


@dataclass(frozen=True)
class Breakdown:
    """The parts of a peak."""

    peak_bytes: int
    rows: tuple[Row, ...]
    """By kind, the largest first, and within it by module; what is unexplained comes last."""
    beyond_bytes: int = 0
    """What the rows hold beyond the peak that was measured; 0 as a rule."""
    predicted: bool = False
    """Whether only the largest holders of a prediction are known."""

    def kinds(self) -> list[Row]:
        """Return a row for each kind, in the order of `rows`."""
        sums: dict[str, list[Row]] = {}
        for row in self.rows:
            sums.setdefault(row.kind, []).append(row)
        return [Row(kind, "", *_sum(rows)) for kind, rows in sums.items()]


def breakdown(profile: Profile) -> Breakdown | None:
    """Return where the memory of a profile goes at its peak; None where nothing is stored of it."""
    memory, slopes = profile.memory, profile.memory_per_sample
    predicted = not memory and not slopes
    if predicted and profile.source == "predicted":  # of a lock of before
        memory = profile.predicted_peak
    if not memory and not slopes:
        return None
    rows = [
        Row(
            kind_of(name),
            module_of(name),
            size,
            slopes.get(name, 0) if slopes else None,
        )
        for name, size in held_at(memory, slopes, profile.max_batch_size).items()
    ]
    held = sum(row.num_bytes for row in rows)
    peak = profile.peak_memory_bytes or held
    totals: dict[str, int] = {}
    for row in rows:
        totals[row.kind] = totals.get(row.kind, 0) + row.num_bytes
    rows.sort(
        key=lambda row: (
            -totals[row.kind], row.kind, row.module == OTHERS, -row.num_bytes, row.module,
        )
    )  # fmt: skip
    rest = max(0, peak - held)
    return Breakdown(
        max(peak, held),
        (*rows, Row(UNEXPLAINED, "", rest, None)),
        max(0, held - peak),
        predicted,
    )


def held_at(
    memory: Mapping[str, int], per_sample: Mapping[str, int], batch_size: int
) -> dict[str, int]:
    """Return bytes by holder at the peak of a batch size, of a table's two parts."""
    names = dict.fromkeys([*memory, *per_sample])
    return {name: memory.get(name, 0) + batch_size * per_sample.get(name, 0) for name in names}


def predicted_holders(profile: Profile) -> dict[str, int]:
    """Return bytes by holder at the peak of the predicted batch; empty if not known."""
    if profile.predicted_peak or profile.source == "measured":
        return profile.predicted_peak
    return held_at(profile.memory, profile.memory_per_sample, profile.max_batch_size)


def _sum(rows: list[Row]) -> tuple[int, int | None]:
    slopes = [row.bytes_per_sample for row in rows]
    known = [slope for slope in slopes if slope is not None]
    return sum(row.num_bytes for row in rows), sum(known) if len(known) == len(slopes) else None
