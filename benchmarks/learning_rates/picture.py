"""Draws the oracle of each small training, with the range that would be locked and the peers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.figures import COLOURS, HIGHLIGHT, save
from learning_rates.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from learning_rates.judged import Judged
    from learning_rates.oracles import Oracle

_COLUMNS = 6
_PANEL_INCHES = (2.0, 1.75)
_MARKERS = ("o", "s", "v", "^", "D")
# A regret above 1 is shown as 1; the marks lie on the edge of the panel.
_TOP = 1.08


def draw(judged: Mapping[str, tuple[Judged, Oracle]], path: Path) -> None:
    """Write a picture with one panel for each task."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - it takes a second

    rows = -(-(len(judged) + 1) // _COLUMNS)
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * _COLUMNS, height * rows), layout="constrained")
    figure.supylabel("regret after 200 steps: 0 best, 1 nothing learned", fontsize=8)
    figure.supxlabel("learning rate", fontsize=8)
    panels = list(figure.subplots(rows, _COLUMNS, sharey=True).flat)
    for (name, (row, oracle)), axes in zip(judged.items(), panels, strict=False):
        _panel(axes, name, row, oracle)
    rest = panels[len(judged) :]
    for axes in rest:
        axes.axis("off")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    rest[0].legend(handles, labels, loc="center", fontsize=7, frameon=False)
    save(figure, path)


def _panel(axes: Any, name: str, row: Judged, oracle: Oracle) -> None:
    axes.set_title(name, loc="left", fontsize=7.5, parse_math=False)
    axes.set_xscale("log")
    axes.set_ylim(-0.06, _TOP)
    axes.tick_params(labelsize=6)
    axes.grid(visible=True, alpha=0.25, linewidth=0.5)
    axes.plot(
        list(oracle.regrets),
        list(oracle.regrets.values()),
        color=COLOURS[-1],
        linewidth=1,
        label="oracle, constant rates",
    )
    if row.range is not None:
        axes.axvspan(*row.range, color=HIGHLIGHT, alpha=0.25, linewidth=0, label="locked range")
    if row.own.learning_rate is not None:
        axes.axvline(row.own.learning_rate, color=HIGHLIGHT, linewidth=1.4, label="suggestion")
    for peer, marker, colour in zip(PEERS, _MARKERS, COLOURS, strict=False):
        rated = row.peers[peer]
        if rated.learning_rate is not None:
            axes.plot(
                rated.learning_rate,
                rated.regret,
                marker=marker,
                color=colour,
                markersize=4.5,
                linestyle="none",
                label=peer,
            )
