"""Renders where the memory of a profile goes: kinds and modules, with bars of characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.breakdown.shares import KINDS, UNEXPLAINED
from harness.report.table import align, shorten_middle
from harness.report.words import place
from harness.units import format_bytes
from harness.visible import one_line

if TYPE_CHECKING:
    from harness.breakdown.shares import Breakdown, Row
    from harness.lockfile.profiles import LockedProfile

_BAR = 24
_NAME = 48
_HEADINGS = ("", "", "memory", "share", "per sample", "")
_ON_THE_CPU = (
    "unexplained is what torch did not allocate: objects of Python and of libraries, and the gaps "
    "between blocks"
)
_ON_A_GPU = "unexplained is what the allocator has reserved and the tensors did not ask for"
_MORE_ON_THE_CPU = "the training takes different memory from run to run"
_MORE_ON_A_GPU = "they were followed without a limit, and convolutions take larger workspaces where there is room"
_LARGEST = (
    "a prediction is locked with its largest holders alone; what is unexplained includes the "
    "others, and what the allocator has reserved and no tensor asked for"
)


def memory_block(profile: LockedProfile, parts: Breakdown) -> str:
    """Return a title, a table whose rows add up to the peak, and what it does not explain."""
    batch = f"batch {profile.max_batch_size}"
    peak, limit = format_bytes(parts.peak_bytes), format_bytes(profile.memory_limit_bytes)
    title = (
        f"{profile.case_id}: {peak} of {limit} at the peak of {batch}, {profile.source} on "
        f"{place(profile.device, profile.made_with)}"
    )
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for kind in parts.kinds():
        name = KINDS.get(kind.kind, _shown(kind.kind))
        rows.append((name, "", *_cells(kind, parts.peak_bytes)))
        modules = [row for row in parts.rows if row.kind == kind.kind and row.module]
        rows += [("", _shown(row.module), *_cells(row, parts.peak_bytes)) for row in modules]
    rows.append(("total", "", peak, "100.0%", "", ""))
    table = align(rows, ["left", "left", "right", "right", "right", "left"])
    return "\n".join([title, "", table, "", *_notes(profile, parts)])


def _shown(name: str) -> str:
    """Return a name of the lock's in one line, which may be a stranger's."""
    return shorten_middle(one_line(name), _NAME)


def _cells(row: Row, peak: int) -> tuple[str, ...]:
    share = row.num_bytes / peak if peak else 0.0
    slope = row.bytes_per_sample
    return (
        format_bytes(row.num_bytes),
        f"{share:.1%}",
        "" if not slope else format_bytes(slope),
        "#" * round(_BAR * share),
    )


def _notes(profile: LockedProfile, parts: Breakdown) -> list[str]:
    rest = next((row for row in parts.rows if row.kind == UNEXPLAINED), None)
    on_the_cpu = profile.device.name == "cpu"
    notes = []
    if rest is not None and rest.num_bytes:
        if parts.predicted:
            notes.append(_LARGEST)
        else:
            notes.append(_ON_THE_CPU if on_the_cpu else _ON_A_GPU)
    if parts.beyond_bytes:
        notes.append(
            f"the tensors hold {format_bytes(parts.beyond_bytes)} more than the peak that was "
            f"{profile.source}: {_MORE_ON_THE_CPU if on_the_cpu else _MORE_ON_A_GPU}"
        )
    if not parts.predicted and not profile.memory_per_sample:
        notes.append("what each sample takes is not known: only one batch size was trained")
    return notes
