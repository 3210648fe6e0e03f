"""Draws the memory of one training step over time, by what holds it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from harness.figures import HIGHLIGHT, new_figure, save
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.predict.holders import PeakHolders

_MIB, _GIB = 1 << 20, 1 << 30
# Okabe and Ito's palette: told apart with any colour vision.
_COLOURS = {
    "parameter": "#0072B2",
    "gradient": "#56B4E9",
    "optimizer": "#009E73",
    "workspace": "#999999",
    "input": "#F0E442",
    "activation": "#E69F00",
    "activation gradient": "#CC79A7",
}
_INCHES = (9.0, 4.8)
# A limit that many times above the memory is told, and not drawn: nothing else would be seen.
_FAR = 4
# More points than the picture has columns tell nothing.
_MAX_POINTS = 4000
# Phases narrower than this share of the picture go without their name.
_MIN_NAMED = 0.06


def plot(path: Path, *, title: str, holders: PeakHolders, memory_limit_bytes: int) -> None:
    """Draw a step as a PNG: live bytes by kind, its phases, and the limit on reserved memory.

    Missing folders of `path` are made.
    """
    timeline = holders.timeline
    live = timeline.live
    count = len(next(iter(live.values())))
    times = _thinned(live, count)
    top: float = max(sum(sizes[time] for sizes in live.values()) for time in times)
    unit, name = (_GIB, "GiB") if top >= _GIB else (_MIB, "MiB")
    figure, axes = new_figure(_INCHES, title)
    shown = [kind for kind, sizes in live.items() if any(sizes)]
    axes.stackplot(
        times,
        [[live[kind][time] / unit for time in times] for kind in shown],
        colors=[_COLOURS[kind] for kind in shown],
        labels=shown,
        linewidth=0,
        step="post",
    )
    top /= unit
    ceiling = memory_limit_bytes / unit
    line: dict[str, Any] = {
        "color": HIGHLIGHT,
        "linestyle": "--",
        "linewidth": 1.4,
        "label": "limit on reserved memory",
    }
    if ceiling > _FAR * top:
        line["label"] = f"limit, {format_bytes(memory_limit_bytes)}, is far above"
        ceiling = top
        axes.plot([], [], **line)
    else:
        axes.axhline(ceiling, **line)
    for (begin, phase), (end, _) in pairwise([*timeline.phases, (count, "")]):
        axes.axvline(begin, color="#666666", linewidth=0.8, linestyle=":")
        if end - begin >= _MIN_NAMED * count:
            axes.text(
                (begin + end) / 2, 1.01 * ceiling, phase, ha="center", va="bottom", fontsize=9
            )
    axes.set_xlim(0, max(count - 1, 1))
    axes.set_ylim(0, 1.12 * max(ceiling, top))
    axes.set_xlabel("allocations and frees of the last training step, in their order")
    axes.set_ylabel(f"live memory ({name})")
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9, reverse=True
    )
    save(figure, path)


def _thinned(live: Mapping[str, Sequence[int]], count: int) -> list[int]:
    """Return the events to draw: all, or of each stretch the one where most is live."""
    if count <= _MAX_POINTS:
        return list(range(count))
    total = [sum(sizes[time] for sizes in live.values()) for time in range(count)]
    width = -(-count // _MAX_POINTS)
    return [
        max(range(begin, min(begin + width, count)), key=total.__getitem__)
        for begin in range(0, count, width)
    ]
