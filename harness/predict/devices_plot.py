"""Draws the largest batch of a rank against the number of devices, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.figures import COLOURS, add_below, new_figure, save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_INCHES = (8.0, 5.6)
# The room above the highest point, for its number.
_HEADROOM = 1.15
_MARKERS = "osD^vP"


def plot(path: Path, *, title: str, curves: Mapping[str, Sequence[tuple[int, int]]]) -> None:
    """Draw the batches of a rank to `path` (PNG), and below them the samples of all ranks.

    curves: by the name of each line its points, each a number of devices and a rank's batch.

    Creates the folders above; the file is replaced in one piece.
    """
    figure, axes = new_figure(_INCHES, title)
    below = add_below(figure, axes)
    for number, (name, points) in enumerate(curves.items()):
        # A batch of 0 has no place on a logarithmic axis.
        shown = sorted(point for point in points if point[1])
        look = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": _MARKERS[number % len(_MARKERS)],
            "markersize": 5,
            "linewidth": 1.6,
        }
        numbers = [devices for devices, _ in shown]
        axes.plot(numbers, [batch for _, batch in shown], label=name, **look)
        below.plot(numbers, [devices * batch for devices, batch in shown], **look)
        for devices, batch in shown if len(curves) == 1 else ():
            axes.annotate(
                f"{batch:,}",
                (devices, batch),
                textcoords="offset points",
                xytext=(0, 8),
                ha="center",
                fontsize=8,
            )
    ticks = sorted({devices for points in curves.values() for devices, _ in points})
    for one in (axes, below):
        one.set_xscale("log", base=2)
        one.grid(visible=True, which="major", color="0.9", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    below.set_yscale("log")
    highest = max((batch for points in curves.values() for _, batch in points), default=1)
    axes.set_ylim(0, _HEADROOM * highest)
    axes.set_ylabel("batch of a rank")
    axes.legend(frameon=False, loc="lower right")
    below.set_ylabel("of all ranks")
    below.set_xlabel("devices")
    below.set_xticks(ticks, labels=[str(one) for one in ticks])
    below.minorticks_off()
    save(figure, path)
