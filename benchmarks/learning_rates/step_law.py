"""Reads Step Law's published losses (arXiv 2503.04715): how far a learning rate may be off.

The authors publish the smoothed final loss of 1,911 dense language models, over learning rate and
batch size, with AdamW, a warm-up and a decay, at 4 to 400 billion tokens. That says nothing about
the rule, which never saw these models. It says how wide the range is within which training is as
good, and so whether the width that a lock allows is a sensible one.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Curve = Sequence[tuple[float, float]]
    """Log of the learning rate and loss, by rising rate."""

_EXCESSES = (0.0025, 0.005, 0.01)
_FACTORS = (1.5, 2.2, 3.0)
# Fewer rates than these tell no range.
_MIN_RATES = 5


def judge_step_law(path: Path) -> dict[str, Any]:
    """Return the width of the range for some excesses of loss, and the excess at some factors.

    Both are medians over the grids of one model, number of tokens and batch size, around the best
    rate. A grid counts for a number only where its rates reach so far.
    """
    grids: dict[tuple[str, ...], dict[float, float]] = defaultdict(dict)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = tuple(row[name] for name in ("h", "ffnh", "numh", "numl", "D", "bs"))
            grids[key][float(row["lr"])] = float(row["smooth loss"])
    curves = [
        [(math.log(rate), grid[rate]) for rate in sorted(grid)]
        for grid in grids.values()
        if len(grid) >= _MIN_RATES
    ]
    return {
        "grids": len(curves),
        "width": {f"{share:.2%}": _over(curves, _width, share) for share in _EXCESSES},
        "excess": {f"x{factor:g}": _over(curves, _excess, factor) for factor in _FACTORS},
    }


def _over(curves: Sequence[Curve], measure: Any, argument: float) -> Mapping[str, float]:
    values = [value for curve in curves if (value := measure(curve, argument)) is not None]
    return {"grids": len(values), "median": float(f"{median(values):.3g}")} if values else {}


def _width(curve: Curve, share: float) -> float | None:
    """Return the highest over the lowest rate whose loss exceeds the best by at most `share`."""
    best = min(curve, key=lambda point: point[1])
    allowed = best[1] * (1 + share)
    ends = [_crossing(side, allowed) for side in _sides(curve)]
    return None if None in ends else math.exp(ends[1] - ends[0])  # type: ignore[operator] # both


def _crossing(side: Curve, allowed: float) -> float | None:
    """Return where a curve that begins at the best exceeds a loss; None where it never does."""
    for (inner, low), (outer, high) in pairwise(side):
        if high > allowed:
            return inner + (outer - inner) * (allowed - low) / (high - low)
    return None


def _sides(curve: Curve) -> tuple[Curve, Curve]:
    """Return the points from the best down, and from the best up."""
    best = min(range(len(curve)), key=lambda index: curve[index][1])
    return curve[best::-1], curve[best:]


def _excess(curve: Curve, factor: float) -> float | None:
    """Return the loss beyond the best, as a share of it, at `factor` off: of both ways the mean."""
    best = min(curve, key=lambda point: point[1])
    excesses = []
    for side in _sides(curve):
        for (inner, low), (outer, high) in pairwise(side):
            part = (math.log(factor) - abs(inner - best[0])) / abs(outer - inner)
            if 0 <= part <= 1:
                excesses.append((low + part * (high - low)) / best[1] - 1)
                break
    return sum(excesses) / 2 if len(excesses) == 2 else None
