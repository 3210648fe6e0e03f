"""Writes what an LR range test saw to disk, as a picture and as JSON with the numbers."""

from __future__ import annotations

import json
import math
import textwrap
from typing import TYPE_CHECKING, Any

from harness.figures import COLOURS, HIGHLIGHT, add_below, new_figure, save
from harness.files import replacing
from harness.lr_range.rate_map import shown as rates
from harness.lr_range.suggestion import suggest
from harness.lr_range.trials import rate_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.lr_range.found import Found, Result
    from harness.lr_range.trials import Trials

_INCHES = (8.0, 4.8)
_INCHES_WITH_SWEEP = (8.0, 6.4)
# The room around the curves, as a share of their range.
_MARGIN = 0.1
# A refusal's text: its width in characters, the lines that are shown, and the share of the height
# that a line needs, and the frame.
_WRAP = 92
_MOST_LINES = 10
_LINE_HEIGHT = 0.041
_FRAME_HEIGHT = 0.09
# A legend with more seeds would hide the curves.
_LABELLED_SEEDS = 8
# The suggestion's text needs this share of the width.
_TEXT_WIDTH = 0.4


def plot(path: Path, *, title: str, result: Result, groups: Sequence[float] = ()) -> None:
    """Draw the trials to `path` (PNG), with the suggestion and its range or the refusal.

    Each seed has a line through the losses of its trials. Trials that diverged, or ended far above
    the loss without training, are crosses at the top. Below is the sweep, where there was one, with
    what each strategy reads off it. `groups` are the rates of the optimizer's groups at the
    suggestion, where they differ: the axis is that of the largest.
    Creates the folders above; the file is replaced in one piece.
    """
    tried = any(trials.losses for trials in result.trials.values())
    both = tried and bool(result.losses)
    figure, axes = new_figure(_INCHES_WITH_SWEEP if both else _INCHES, title)
    shown = [axes]
    if both:
        shown.append(add_below(figure, axes))
    for one in shown:
        one.set_xscale("log")
        one.grid(visible=True, which="major", color="0.9", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    of_groups = f" of the largest group; at the suggestion they have {rates(groups)}"
    shown[-1].set_xlabel(f"learning rate{of_groups if groups else ''}")
    refusal = _shortened(result.refusal or "") if result.found is None else ""
    if tried or not result.losses:
        _draw_trials(axes, result, refusal)
    if result.losses:
        _draw_sweeps(shown[-1], result, "" if tried else refusal)
    if result.found is not None:
        _draw_found(axes, result.found)
    elif refusal:
        _draw_refusal(axes, refusal)
    save(figure, path)


def save_curve(path: Path, *, title: str, result: Result, groups: Sequence[float] = ()) -> None:
    """Write what a range test saw to `path` as JSON.

    The rates are the optimizer's. A loss that is not finite becomes null. Creates the folders
    above; the file is replaced in one piece.
    """
    found = result.found
    curve: dict[str, Any] = {
        "version": 2,
        "title": title,
        "learning_rate": found and found.learning_rate,
        "learning_rate_range": (
            [found.lowest, found.highest] if found and found.has_range else None
        ),
        "learning_rate_per_seed": [] if found is None else found.per_seed,
        "group_learning_rates": list(groups),
        "refusal": result.refusal,
        "horizon": result.horizon,
        "steps": result.steps,
        "signal_to_noise": _finite(result.signal_to_noise),
        "trials": [
            {
                "seed": seed,
                "learning_rate": rate_at(point),
                "loss": _finite(trials.loss(point)),
                "lost": _finite(trials.lost(point)),
                "losses": list(map(_finite, trials.losses[point])),
            }
            for seed, trials in result.trials.items()
            for point in sorted(trials.losses)
        ],
        "sweep": {
            "learning_rates": result.learning_rates,
            "losses": list(map(_finite, result.losses)),
        },
        "further_sweeps": [list(map(_finite, losses)) for losses in result.further_sweeps],
        "suggestions": result.suggestions,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(curve, allow_nan=False) + "\n", encoding="utf-8")


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _draw_trials(axes: Any, result: Result, refusal: str) -> None:
    """Draw the loss of each trial against its rate."""
    seeds = {seed: trials for seed, trials in result.trials.items() if trials.losses}
    low, high = _loss_range(list(seeds.values()))
    room = (high - low) or max(abs(high), 1.0)
    low, top = low - _MARGIN * room, high + _MARGIN * room
    text = _FRAME_HEIGHT + _LINE_HEIGHT * len(refusal.splitlines()) if refusal else _MARGIN
    axes.set_ylim(low, top + (top - low) * text / (1 - text))
    diverged = False
    for number, (seed, trials) in enumerate(seeds.items()):
        colour = COLOURS[number % len(COLOURS)]
        losses = {rate_at(point): trials.loss(point) for point in sorted(trials.losses)}
        axes.plot(
            list(losses),
            [loss if loss <= top else math.nan for loss in losses.values()],
            marker="o",
            markersize=4,
            linewidth=1.6,
            color=colour,
            label=_seed_label(seed, trials) if number < _LABELLED_SEEDS else None,
        )
        off = [rate for rate, loss in losses.items() if not loss <= top]
        diverged = diverged or bool(off)
        axes.plot(off, [top] * len(off), linestyle="none", marker="x", color=colour)
    axes.set_ylabel(f"loss of trials of {result.horizon} steps")
    if diverged:
        axes.plot([], [], linestyle="none", marker="x", color="0.4", label="diverged, or higher")
    if seeds:
        axes.legend(loc="lower left", fontsize=8, frameon=True, framealpha=0.9, edgecolor="0.85")


def _seed_label(seed: int, trials: Trials) -> str:
    if trials.is_closed:
        return f"seed {seed}: {rate_at(trials.range().middle):.3g}"
    return f"seed {seed}"


def _loss_range(seeds: Sequence[Trials]) -> tuple[float, float]:
    """Return the loss of the best trial of all seeds, and the highest loss without training."""
    shown = [
        loss
        for trials in seeds
        for loss in (trials.loss(trials.best), trials.initial_loss)
        if math.isfinite(loss)
    ]
    return (min(shown), max(shown)) if shown else (0.0, 0.0)


def _draw_sweeps(axes: Any, result: Result, refusal: str) -> None:
    """Draw the raw losses of the sweeps, and the smoothed ones down to their minimum and beyond."""
    swept = result.learning_rates
    lines = []
    for losses in (result.losses, *result.further_sweeps):
        smoothed = suggest(swept, [losses]).smoothed[0]
        axes.plot(
            swept[: len(losses)],
            [loss if math.isfinite(loss) else math.nan for loss in losses],
            linestyle="none",
            marker=".",
            markersize=4,
            alpha=0.6,
            color="0.45",
        )
        axes.plot(swept[: len(smoothed)], smoothed, linewidth=1.4, color="0.35")
        lines.append((smoothed, losses))
    axes.set_ylabel("loss of the sweep" if len(lines) == 1 else "loss of the sweeps")
    _draw_suggestions(axes, result.suggestions)
    ends = [_loss_range_of_sweep(*line) for line in lines if line[0]]
    if not ends:
        return
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    room = (high - low) or max(abs(high), 1.0)
    low, top = low - _MARGIN * room, high + 3 * _MARGIN * room
    text = _FRAME_HEIGHT + _LINE_HEIGHT * len(refusal.splitlines()) if refusal else 0.0
    axes.set_ylim(low, top + (top - low) * text / (1 - text))


def _draw_suggestions(axes: Any, suggestions: Mapping[str, float | None]) -> None:
    """Mark the rate of each strategy; the first one decides."""
    for number, (name, rate) in enumerate(suggestions.items()):
        colour = HIGHLIGHT if number == 0 else COLOURS[(number - 1) % len(COLOURS)]
        style = ("-", "--", ":", "-.")[number % 4]
        label = f"{name}: {'refused' if rate is None else f'{rate:.3g}'}"
        where = [math.nan if rate is None else rate] * 2
        # Over the whole height, in units of the axes.
        axes.plot(
            where,
            [0, 1],
            transform=axes.get_xaxis_transform(),
            color=colour,
            linestyle=style,
            linewidth=1.6,
            label=label,
        )
    if suggestions:
        axes.legend(loc="lower left", fontsize=8, frameon=True, framealpha=0.9, edgecolor="0.85")


def _loss_range_of_sweep(smoothed: Sequence[float], losses: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and the highest loss on the way down: beyond, losses may be huge."""
    minimum = smoothed.index(min(smoothed))
    way_down = [*smoothed[: minimum + 1], *filter(math.isfinite, losses[: minimum + 1])]
    low, high = min(way_down), max(way_down)
    low = min([low, *filter(math.isfinite, losses)])
    return low, high if high > low else max(smoothed)


def _draw_found(axes: Any, found: Found) -> None:
    axes.axvline(found.learning_rate, color=HIGHLIGHT, linewidth=1.8)
    text = f"suggested: {found.learning_rate:.3g}"
    lowest, highest = found.lowest, found.highest
    if found.has_range:
        axes.axvspan(lowest, highest, color=HIGHLIGHT, alpha=0.12, linewidth=0)
        text += f"\n({lowest:.3g} to {highest:.3g})"
    left, right = map(math.log, axes.get_xlim())
    if math.log(lowest) - left > _TEXT_WIDTH * (right - left):
        rate, shift, side = lowest, -7, "right"
    elif right - math.log(highest) > _TEXT_WIDTH * (right - left):
        rate, shift, side = highest, 7, "left"
    else:
        rate, shift, side = found.learning_rate, 0, "center"
    axes.annotate(
        text,
        xy=(rate, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(shift, 0),
        textcoords="offset points",
        ha=side,
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


def _shortened(refusal: str) -> str:
    """Return the text of a refusal in lines; the JSON beside the picture has all of it."""
    return textwrap.fill(f"Refused: {refusal}", _WRAP, max_lines=_MOST_LINES, placeholder=" ...")


def _draw_refusal(axes: Any, refusal: str) -> None:
    axes.text(
        0.5,
        0.97,
        refusal,
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
