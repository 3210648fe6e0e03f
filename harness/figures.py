"""Draws matplotlib figures in one style, and replaces picture files in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

# Okabe and Ito's palette, which people with any colour vision can distinguish.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
HIGHLIGHT = "#D55E00"
"""Vermilion, used only for the result or the limit."""

_DOTS_PER_INCH = 150
# A longer title leaves the figure, and one of twice its width leaves the axes no room.
_TITLE_LENGTH = 80


def new_figure(inches: tuple[float, float], title: str) -> tuple[Any, Any]:
    """Return a matplotlib Figure, of this width and height in inches, and its titled axes."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - it takes a second

    figure = Figure(figsize=inches, layout="constrained")
    axes = figure.add_subplot()
    if len(title) > _TITLE_LENGTH:
        title = f"{title[: _TITLE_LENGTH - 3]}..."
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", parse_math=False)
    return figure, axes


def add_below(figure: Any, axes: Any) -> Any:
    """Add smaller axes below those of a figure, over the same x axis."""
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 1.4))
    axes.set_subplotspec(grid[0])
    axes.tick_params(labelbottom=False)
    return figure.add_subplot(grid[1], sharex=axes)


def save(figure: Any, path: Path) -> None:
    """Write a matplotlib Figure to `path` as PNG. Creates the folders above. Raises OSError."""
    with replacing(path) as temporary:
        # The explicit backend leaves pyplot's state and the user's backend untouched.
        figure.savefig(temporary, format="png", backend="agg", dpi=_DOTS_PER_INCH)
