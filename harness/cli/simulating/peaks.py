"""Shows what the processes of a simulated world needed of its GPUs, as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.report.table import align
from harness.units import format_bytes
from harness.visible import one_line
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.simulated.peaks import Peak
    from harness.simulated.world import World

_UNKNOWN = "unknown"
_NONE = "-"
_HEADINGS = ["process", "rank", "GPU", "peak allocated", "peak reserved", "left on the GPU"]
LIMITS = (
    "Memory was counted and nothing was computed: time, values of tensors, and what NCCL takes\n"
    "for itself are not known."
)
"""What the table cannot tell, shown below it."""
_NO_WORKSPACES = (
    "Workspaces of convolutions were not counted: this cuDNN does not say them. "
    "Those from 9.11 on do."
)


def as_text(world: World, code: int, visible: str | None = None) -> str:
    """Return the table of a world whose program has ended, for people.

    code: the program's exit code. visible: the CUDA_VISIBLE_DEVICES that it was started with.
    """
    gpus = world.raw.num_gpus
    name = one_line(world.raw.gpus[0].name.decode())
    total = format_bytes(world.raw.gpus[0].total)
    lines = ["", f"gpu-profile: exit code {code} on {gpus} x simulated {name}, {total} each"]
    peaks = by_rank(world)
    if peaks:
        lines += ["", *_table(world, peaks).splitlines(), ""]
    else:
        given = "" if visible is None else f" CUDA_VISIBLE_DEVICES is {json.dumps(visible)}."
        lines.append(f"No process used CUDA.{given}")
    if world.num_peaks > len(peaks):
        lines.append(f"Not listed: {world.num_peaks - len(peaks)} later processes.")
    lines += _places(peaks) + _refusals(peaks)
    lines.append(LIMITS)
    if not world.workspaces_known:
        lines.append(_NO_WORKSPACES)
    return "\n".join(lines) + "\n"


def by_rank(world: World) -> list[Peak]:
    """Return the peaks in the order of ranks; those without one in the order of their first use."""
    return sorted(world.peaks(), key=lambda peak: -1 if peak.rank is None else peak.rank)


def _table(world: World, peaks: Sequence[Peak]) -> str:
    rows = [
        [
            str(peak.pid),
            _rank(peak),
            str(peak.gpu),
            _bytes(peak.allocated_bytes),
            _bytes(peak.reserved_bytes),
            format_bytes(headroom(world, peak.gpu)),
        ]
        for peak in peaks
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return align([_HEADINGS, rule, *rows], ["right"] * len(_HEADINGS))


def _places(peaks: Sequence[Peak]) -> list[str]:
    told = []
    for peak in peaks:
        if peak.where is None:
            continue
        # Of code without a file Python tells something like <string>.
        told_file = peak.where.file
        file = told_file if told_file.startswith("<") else one_line(shown_path(Path(told_file)))
        inside = "" if peak.where.function == "<module>" else f", in {peak.where.function}"
        phase = f", {peak.where.phase}" if peak.where.phase else ""
        told.append(
            f"process {peak.pid} on GPU {peak.gpu} held the most at {file}:{peak.where.line}"
            f"{inside}{phase}"
        )
    return told


def _refusals(peaks: Sequence[Peak]) -> list[str]:
    return [
        f"process {peak.pid} on GPU {peak.gpu}: {peak.refused} "
        f"{'allocation' if peak.refused == 1 else 'allocations'} did not fit"
        for peak in peaks
        if peak.refused
    ]


def headroom(world: World, gpu: int) -> int:
    """Return what was free on a GPU when it was fullest: contexts and all processes count."""
    return int(world.raw.gpus[gpu].total) - world.peak_used_bytes(gpu)


def _rank(peak: Peak) -> str:
    rank = peak.local_rank if peak.rank is None else peak.rank
    return _NONE if rank is None else str(rank)


def _bytes(number: int | None) -> str:
    return _UNKNOWN if number is None else format_bytes(number)
