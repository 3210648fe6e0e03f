"""Writes what an LR range test saw to disk, as a picture and as JSON with the numbers."""

from __future__ import annotations

import json
import math
import textwrap
from typing import TYPE_CHECKING, Any

from harness.figures import COLOURS, HIGHLIGHT, add_below, new_figure, save
from harness.files import replacing
from harness.lr_range.suggestion import suggest
from harness.lr_range.trials import rate_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.lr_range.find import Found, Result
    from harness.lr_range.trials import Trials

_INCHES = (8.0, 4.8)
_INCHES_WITH_SWEEP = (8.0, 6.4)
# The room above and below the curves, as a share of their range; the text of a refusal needs more.
_MARGIN = 0.1
_REFUSAL_ROOM = 0.45
# The width of a refusal's text, in characters.
_WRAP = 92


def plot(path: Path, *, title: str, result: Result) -> None:
    """Draw the trials to `path` (PNG), with the suggestion and its range or the refusal.

    Each seed has a line through the losses of its trials. Trials that diverged are crosses at the
    top. Below is the sweep, where there was one. Creates the folders above; the file is replaced in
    one piece.
    """
    figure, axes = new_figure(_INCHES_WITH_SWEEP if result.losses else _INCHES, title)
    _draw_trials(axes, result)
    shown = [axes]
    if result.losses:
        below = add_below(figure, axes)
        _draw_sweep(below, result)
        shown.append(below)
    for one in shown:
        one.set_xscale("log")
        one.grid(visible=True, which="major", color="0.9", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
        one.set_ylabel("training loss")
    shown[-1].set_xlabel("learning rate")
    save(figure, path)


def save_curve(path: Path, *, title: str, result: Result) -> None:
    """Write what a range test saw to `path` as JSON.

    The rates are the optimizer's. A loss that is not finite becomes null. Creates the folders
    above; the file is replaced in one piece.
    """
    found = result.found
    curve: dict[str, Any] = {
        "version": 2,
        "title": title,
        "learning_rate": found and found.learning_rate,
        "learning_rate_range": found and [found.lowest, found.highest],
        "learning_rate_per_seed": [] if found is None else found.per_seed,
        "refusal": result.refusal,
        "horizon": result.horizon,
        "steps": result.steps,
        "signal_to_noise": result.signal_to_noise,
        "trials": [
            {
                "seed": seed,
                "learning_rate": rate_at(point),
                "loss": _finite(trials.loss(point)),
                "lost": trials.lost(point),
                "losses": list(map(_finite, trials.losses[point])),
            }
            for seed, trials in result.trials.items()
            for point in sorted(trials.losses)
        ],
        "sweep": {
            "learning_rates": result.learning_rates,
            "losses": list(map(_finite, result.losses)),
        },
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(curve, allow_nan=False) + "\n", encoding="utf-8")


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


def _draw_trials(axes: Any, result: Result) -> None:
    """Draw the loss of each trial against its rate, and the result."""
    seeds = {seed: trials for seed, trials in result.trials.items() if trials.losses}
    low, high = _loss_range(list(seeds.values()), refused=result.found is None)
    axes.set_ylim(low, high)
    top = high - _MARGIN / 4 * (high - low)
    for number, (seed, trials) in enumerate(seeds.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = sorted(trials.losses)
        rates = [rate_at(point) for point in points]
        losses = [trials.loss(point) for point in points]
        off = [rate for rate, loss in zip(rates, losses, strict=True) if not loss <= high]
        axes.plot(
            rates,
            [loss if loss <= high else math.nan for loss in losses],
            marker="o",
            markersize=4,
            linewidth=1.6,
            color=colour,
            label=_seed_label(seed, number, trials, result.found),
        )
        axes.plot(off, [top] * len(off), linestyle="none", marker="x", color=colour)
    if result.found is None:
        _draw_refusal(axes, result.refusal or "")
    else:
        _draw_found(axes, result.found)
    axes.set_title(f"trials of {result.horizon} steps at a constant rate", loc="right", fontsize=9)
    if seeds:
        axes.legend(loc="lower left", fontsize=8, frameon=True, framealpha=0.9, edgecolor="0.85")


def _seed_label(seed: int, number: int, trials: Trials, found: Found | None) -> str:
    if found is not None and number < len(found.per_seed):
        return f"seed {seed}: {found.per_seed[number]:.3g}"
    return f"seed {seed}: {'no rate' if trials.has_signal else 'no drop'}"


def _loss_range(seeds: Sequence[Trials], *, refused: bool) -> tuple[float, float]:
    """Return both ends of the loss axis: from the best trial to the loss without training."""
    shown = [
        loss
        for trials in seeds
        for loss in (trials.loss(trials.best), trials.initial_loss)
        if math.isfinite(loss)
    ]
    low, high = (min(shown), max(shown)) if shown else (0.0, 0.0)
    room = (high - low) or max(abs(high), 1.0)
    return low - _MARGIN * room, high + (_REFUSAL_ROOM if refused else 2 * _MARGIN) * room


def _draw_sweep(axes: Any, result: Result) -> None:
    """Draw the raw losses of the sweep, and the smoothed ones."""
    rates = result.learning_rates
    smoothed = suggest(rates, [result.losses]).smoothed[0] if result.losses else ()
    axes.plot(
        rates[: len(result.losses)],
        result.losses,
        linestyle="none",
        marker=".",
        markersize=4,
        alpha=0.6,
        color="0.45",
    )
    axes.plot(rates[: len(smoothed)], smoothed, linewidth=1.4, color="0.35")
    if smoothed:
        room = (max(smoothed) - min(smoothed)) or max(abs(smoothed[0]), 1.0)
        axes.set_ylim(min(smoothed) - 2 * _MARGIN * room, max(smoothed) + 2 * _MARGIN * room)
    axes.set_title(f"sweep of {len(result.losses)} steps", loc="right", fontsize=9)


def _draw_found(axes: Any, found: Found) -> None:
    axes.axvspan(found.lowest, found.highest, color=HIGHLIGHT, alpha=0.12, linewidth=0)
    axes.axvline(found.learning_rate, color=HIGHLIGHT, linewidth=1.8)
    axes.annotate(
        f"suggested: {found.learning_rate:.3g}\n({found.lowest:.3g} to {found.highest:.3g})",
        xy=(found.lowest, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(-7, 0),
        textcoords="offset points",
        ha="right",
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


def _draw_refusal(axes: Any, refusal: str) -> None:
    axes.text(
        0.5,
        0.97,
        textwrap.fill(f"Refused: {refusal}", _WRAP),
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
