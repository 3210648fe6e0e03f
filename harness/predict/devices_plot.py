"""Draws the largest batch of a rank against the number of devices, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from harness.figures import COLOURS, add_below, new_figure, save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_INCHES = (8.0, 5.6)
# The room above the highest point, for its number.
_HEADROOM = 1.15
_MARKERS = "osD^vP"


class Point(NamedTuple):
    """What was predicted for one number of devices."""

    devices: int
    batch: int
    """That of a rank."""
    bounded_by: str


def plot(path: Path, *, title: str, curves: Mapping[str, Sequence[Point]]) -> None:
    """Draw the batches of a rank to `path` (PNG), and below them the samples of all ranks.

    A marker is hollow where something else than memory bounds the batch.

    curves: by the name of each line its points.

    Creates the folders above; the file is replaced in one piece.
    """
    if len(curves) == 1:
        title = f"{title} on {next(iter(curves))}"
    figure, axes = new_figure(_INCHES, title)
    below = add_below(figure, axes)
    for number, (name, points) in enumerate(curves.items()):
        # A batch of 0 has no place on a logarithmic axis.
        shown = sorted(point for point in points if point.batch)
        look = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": _MARKERS[number % len(_MARKERS)],
            "markersize": 5,
            "linewidth": 1.2,
            # Nobody has predicted what is between the points.
            "linestyle": (0, (4, 3)),
        }
        numbers = [one.devices for one in shown]
        axes.plot(numbers, [one.batch for one in shown], label=name, **look)
        below.plot(numbers, [one.devices * one.batch for one in shown], **look)
        _mark_others(axes, below, shown, look)
        if len(curves) == 1:
            _write_numbers(axes, [(one.devices, one.batch) for one in shown])
            _write_numbers(below, [(one.devices, one.devices * one.batch) for one in shown])
    every = [one for points in curves.values() for one in points]
    ticks = sorted({one.devices for one in every})
    for one in (axes, below):
        one.set_xscale("log", base=2)
        one.grid(visible=True, which="major", color="0.9", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    totals = [one.devices * one.batch for one in every if one.batch] or [1]
    below.set_yscale("log")
    below.set_ylim(min(totals) / 2, max(totals) * 4)
    below.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(0, _HEADROOM * max((one.batch for one in every), default=1))
    axes.set_ylabel("batch of a rank")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    below.set_ylabel("samples of a step,\nall ranks")
    below.set_xlabel("devices")
    below.set_xticks(ticks, labels=[str(one) for one in ticks])
    below.minorticks_off()
    if axes.get_legend_handles_labels()[1][1:]:
        axes.legend(frameon=False, loc="best")
    save(figure, path)


def _mark_others(axes: Any, below: Any, shown: Sequence[Point], look: dict[str, Any]) -> None:
    """Draw hollow markers where memory does not bound the batch, each reason once in the legend."""
    hollow = {**look, "linestyle": "none", "markerfacecolor": "white", "markersize": 8}
    for reason in sorted({one.bounded_by for one in shown} - {"memory"}):
        of = [one for one in shown if one.bounded_by == reason]
        numbers = [one.devices for one in of]
        axes.plot(numbers, [one.batch for one in of], label=f"bounded by: {reason}", **hollow)
        below.plot(numbers, [one.devices * one.batch for one in of], **hollow)


def _write_numbers(axes: Any, points: Sequence[tuple[int, int]]) -> None:
    for place in points:
        axes.annotate(
            f"{place[1]:,}",
            place,
            textcoords="offset points",
            xytext=(0, 8),
            ha="center",
            fontsize=8,
        )
