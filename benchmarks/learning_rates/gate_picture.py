"""Draws how far unchanged runs move within the locked ranges, and which planted changes fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.figures import COLOURS, HIGHLIGHT, save

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LIMITS = (1e-3, 1e3)
_REFUSED = 2e-3
_MOVED = 3.0


def draw(data: Mapping[str, Any], path: Path) -> None:
    """Write a picture of the unchanged runs beside one of the planted changes."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - it takes a second

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    _unchanged(left, data)
    _planted(right, data["planted"].values())
    for axes in (left, right):
        axes.grid(visible=True, which="major", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8)
    save(figure, path)


def _unchanged(axes: Any, data: Mapping[str, Any]) -> None:
    axes.set_title("unchanged runs", loc="left", fontsize=11, fontweight="bold")
    names = [name for name in data["locks"] if any(True for _ in _runs(data, name))]
    for row, name in enumerate(names):
        lock = data["locks"][name]
        rate, (low, high) = lock["learning_rate"], lock["learning_rate_range"]
        label = "locked range" if row == 0 else None
        axes.barh(row, (high - low) / rate, left=low / rate, height=0.7, color="0.88", label=label)
        runs = list(_runs(data, name))
        for failed, colour, label in ((False, COLOURS[0], "passes"), (True, HIGHLIGHT, "fails")):
            shown = [run for run in runs if run["failed"] == failed and run["learning_rate"]]
            heights = [row - 0.25 + 0.5 * runs.index(run) / max(1, len(runs) - 1) for run in shown]
            rates = [run["learning_rate"] / rate for run in shown]
            if shown:
                axes.plot(
                    rates,
                    heights,
                    ".",
                    color=colour,
                    markersize=5,
                    label=label if row == 0 or failed else None,
                )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(0.4, 4)
    axes.set_xticks([0.5, 0.7, 1, 1.5, 2], ["x0.5", "x0.7", "x1", "x1.5", "x2"])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("measured over locked learning rate")


def _planted(axes: Any, changes: Any) -> None:
    changes = [one for one in changes if one["moved_by"] is not None]
    axes.set_title("planted changes", loc="left", fontsize=11, fontweight="bold")
    axes.axvspan(1 / _MOVED, _MOVED, color="0.93", linewidth=0, label="moved by less than x3")
    axes.plot(_LIMITS, _LIMITS, color="0.75", linewidth=1, label="found as far as it moved")
    for refused, marker in ((False, "o"), (True, "x")):
        for failed, colour, label in (
            (True, COLOURS[0], "fails"),
            (False, HIGHLIGHT, "passes"),
        ):
            shown = [
                one
                for one in changes
                if one["failed"] == failed and (one["learning_rate"] is None) == refused
            ]
            if not shown:
                continue
            rates = [_REFUSED if refused else one["learning_rate"] / one["locked"] for one in shown]
            axes.plot(
                [one["moved_by"] for one in shown],
                rates,
                marker,
                color=colour,
                markersize=6,
                label=f"{label}, no rate is found (bottom)" if refused else label,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(_LIMITS)
    axes.set_ylim(_LIMITS)
    axes.set_xlabel("how far the best constant rate moved (oracle)")
    axes.set_ylabel("measured over locked learning rate")


def _runs(data: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    for key, run in data["unchanged"].items():
        if key.rsplit(" ", 1)[0] == name:
            yield run
