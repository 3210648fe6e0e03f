"""Draws samples/s and peak memory against the batch size, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.figures import COLOURS, HIGHLIGHT, add_below, new_figure, save

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measurement import Measurement

_INCHES = (8.0, 5.6)
# The room above the highest value, for the text at the chosen size.
_HEADROOM = 1.25
_GIB, _MIB = 1 << 30, 1 << 20


def plot(path: Path, *, title: str, measurement: Measurement, best: int) -> None:
    """Draw the speeds of a measurement to `path` (PNG), and below them the peaks of memory.

    best: the batch size with the most samples/s.

    Creates the folders above; the file is replaced in one piece.
    """
    figure, axes = new_figure(_INCHES, title)
    below = add_below(figure, axes)
    for one in (axes, below):
        one.set_xscale("log", base=2)
        one.grid(visible=True, which="major", color="0.9", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    _draw_speeds(axes, measurement, best)
    _draw_peaks(below, measurement)
    sizes = [speed.batch_size for speed in measurement.speeds]
    below.set_xticks(sizes, labels=[str(size) for size in sizes])
    below.minorticks_off()
    below.set_xlabel("batch size")
    save(figure, path)


def _draw_speeds(axes: Any, measurement: Measurement, best: int) -> None:
    speeds = measurement.speeds
    axes.errorbar(
        [speed.batch_size for speed in speeds],
        [speed.samples_per_second for speed in speeds],
        yerr=[speed.samples_per_second_spread or 0.0 for speed in speeds],
        marker="o",
        markersize=4,
        linewidth=1.6,
        capsize=3,
        color=COLOURS[0],
        label="median and standard deviation of the rounds",
    )
    fastest = next(speed for speed in speeds if speed.batch_size == best)
    axes.axhline(
        fastest.samples_per_second,
        color="0.5",
        linewidth=1,
        linestyle="--",
        label=f"the best of the rounds: batch {best}",
    )
    axes.axvline(measurement.batch_size, color=HIGHLIGHT, linewidth=1.8, zorder=1)
    axes.set_ylim(0, _HEADROOM * max(one.samples_per_second for one in speeds))
    axes.set_ylabel("samples/s")
    on_left = measurement.batch_size**2 > speeds[0].batch_size * speeds[-1].batch_size
    axes.annotate(
        f"tuned: batch {measurement.batch_size}\n{measurement.samples_per_second:.4g} samples/s",
        xy=(measurement.batch_size, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(-7 if on_left else 7, 0),
        textcoords="offset points",
        ha="right" if on_left else "left",
        va="top",
        color=HIGHLIGHT,
        fontweight="bold",
    )
    axes.legend(loc="lower right", fontsize=8, frameon=True, framealpha=0.9, edgecolor="0.85")


def _draw_peaks(axes: Any, measurement: Measurement) -> None:
    peaks = {
        speed.batch_size: speed.peak_memory_bytes
        for speed in measurement.speeds
        if speed.peak_memory_bytes is not None
    }
    limit = measurement.memory_limit_bytes
    large = max([limit, *peaks.values()]) >= _GIB
    unit = _GIB if large else _MIB
    axes.plot(
        list(peaks),
        [peak / unit for peak in peaks.values()],
        marker="o",
        markersize=4,
        linewidth=1.6,
        color=COLOURS[2],
    )
    if limit:
        axes.axhline(limit / unit, color="0.5", linewidth=1, linestyle="--", label="limit")
        axes.legend(loc="lower right", fontsize=8, frameon=True, framealpha=0.9, edgecolor="0.85")
    axes.axvline(measurement.batch_size, color=HIGHLIGHT, linewidth=1.8, zorder=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"peak, {'GiB' if large else 'MiB'}")
