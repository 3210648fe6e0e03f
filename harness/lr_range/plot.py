"""Writes the curves of an LR range test to disk, as a picture and as JSON with the numbers."""

from __future__ import annotations

import json
import math
import textwrap
from typing import TYPE_CHECKING, Any

from harness.figures import COLOURS, HIGHLIGHT, new_figure, save
from harness.files import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.lr_range.suggestion import Suggestion

_INCHES = (8.0, 4.8)
# The room above and below the curves, as a share of their range; the text of a refusal needs more.
_MARGIN = 0.1
_REFUSAL_ROOM = 0.35
# The share of the raw losses that may lie outside the loss axis, at either end.
_OUTLIERS = 0.01
# The width of a refusal's text, in characters.
_WRAP = 92


def plot(
    path: Path,
    *,
    title: str,
    learning_rates: Sequence[float],
    losses_per_seed: Sequence[Sequence[float | None]],
    suggestion: Suggestion,
) -> None:
    """Draw the sweeps to `path` (PNG), with the suggestion or the refusal.

    Each seed has raw points and a smoothed line. The loss axis fits the smoothed curves, which end
    where the loss diverged. Creates the folders above; the file is replaced in one piece.
    """
    figure, axes = new_figure(_INCHES, title)
    axes.set_xscale("log")
    low, high = _loss_range(losses_per_seed, suggestion)
    axes.set_ylim(low, high)
    axes.set_xlim(learning_rates[0], max(learning_rates[-1], learning_rates[0] * 1.01))
    for number, losses in enumerate(losses_per_seed):
        colour = COLOURS[number % len(COLOURS)]
        smoothed = suggestion.smoothed[number]
        points = [
            (rate, loss)
            for rate, loss in zip(learning_rates, losses, strict=False)
            if loss is not None and low <= loss <= high
        ]
        axes.plot(
            [rate for rate, _ in points],
            [loss for _, loss in points],
            linestyle="none",
            marker=".",
            markersize=4,
            markeredgewidth=0,
            alpha=0.45,
            color=colour,
        )
        axes.plot(
            learning_rates[: len(smoothed)],
            smoothed,
            linewidth=1.6,
            color=colour,
            label=_seed_label(number, suggestion),
        )
    _draw_result(axes, learning_rates, suggestion)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.grid(visible=True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", fontsize=8, frameon=True, framealpha=0.9, edgecolor="0.85")
    save(figure, path)


def save_curve(
    path: Path,
    *,
    title: str,
    learning_rates: Sequence[float],
    losses_per_seed: Sequence[Sequence[float | None]],
    suggestion: Suggestion,
) -> None:
    """Write the sweeps and their suggestion to `path` as JSON.

    A loss that is not finite becomes null. Creates the folders above; the file is replaced in one
    piece.
    """
    curve: dict[str, Any] = {
        "version": 1,
        "title": title,
        "learning_rate": suggestion.learning_rate,
        "refusal": suggestion.refusal,
        "learning_rate_per_seed": suggestion.per_seed,
        "signal_to_noise": suggestion.signal_to_noise,
        "log_sd": suggestion.log_sd,
        "initial_loss": suggestion.initial_loss,
        "fractional_drop": suggestion.fractional_drop,
        "learning_rates": list(learning_rates),
        "losses_per_seed": [
            [loss if loss is not None and math.isfinite(loss) else None for loss in losses]
            for losses in losses_per_seed
        ],
        "smoothed_per_seed": suggestion.smoothed,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(curve, allow_nan=False) + "\n", encoding="utf-8")


def _seed_label(number: int, suggestion: Suggestion) -> str:
    rate = suggestion.per_seed[number]
    return f"sweep {number + 1}: no drop" if rate is None else f"sweep {number + 1}: {rate:.3g}"


def _loss_range(
    losses_per_seed: Sequence[Sequence[float | None]], suggestion: Suggestion
) -> tuple[float, float]:
    """Return both ends of the loss axis.

    It shows the smoothed curves, and the noise around them up to the minimum.
    """
    shown: list[float] = []
    for losses, smoothed in zip(losses_per_seed, suggestion.smoothed, strict=True):
        # Beyond the minimum the raw losses may be huge.
        way_down = losses[: smoothed.index(min(smoothed)) + 1] if smoothed else losses
        raw = sorted(loss for loss in way_down if loss is not None and math.isfinite(loss))
        cut = int(_OUTLIERS * len(raw))
        shown += [*smoothed, *raw[cut : len(raw) - cut]]
    low, high = (min(shown), max(shown)) if shown else (0.0, 0.0)
    room = (high - low) or max(abs(high), 1.0)
    top = _REFUSAL_ROOM if suggestion.refusal else _MARGIN
    return low - _MARGIN * room, high + top * room


def _draw_result(axes: Any, learning_rates: Sequence[float], suggestion: Suggestion) -> None:
    if suggestion.learning_rate is not None:
        axes.axvline(suggestion.learning_rate, color=HIGHLIGHT, linewidth=1.8)
        is_left = suggestion.learning_rate**2 < learning_rates[0] * learning_rates[-1]
        axes.annotate(
            f"suggested: {suggestion.learning_rate:.3g}",
            xy=(suggestion.learning_rate, 0.96),
            xycoords=("data", "axes fraction"),
            xytext=(7 if is_left else -7, 0),
            textcoords="offset points",
            ha="left" if is_left else "right",
            va="top",
            color=HIGHLIGHT,
            fontweight="bold",
            bbox={
                "facecolor": "white",
                "edgecolor": "none",
                "boxstyle": "round,pad=0.2",
                "alpha": 0.85,
            },
        )
        return
    axes.text(
        0.5,
        0.97,
        textwrap.fill(f"Refused: {suggestion.refusal}", _WRAP),
        transform=axes.transAxes,
        ha="center",
        va="top",
        fontsize=8.5,
        parse_math=False,
        color=HIGHLIGHT,
        bbox={
            "facecolor": "white",
            "edgecolor": HIGHLIGHT,
            "boxstyle": "round,pad=0.5",
            "alpha": 0.92,
        },
    )
