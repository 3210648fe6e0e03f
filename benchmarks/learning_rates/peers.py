"""Other learning rate finders' rules, on the losses of one sweep, with each finder's own smoothing.

Lightning 2.6 (`Tuner.lr_find`), and those that a matrix can name. Each is as its package has it by
default; over several seeds the suggestion is the median in log space, though none of them asks for
more than one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.lr_range.ratio import log_median
from harness.lr_range.strategies import PUBLISHED, exponential_averages
from harness.lr_range.suggestion import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Losses = Sequence[float | None]
    Peer = Callable[[Sequence[float], Losses], float | None]


def lightning(learning_rates: Sequence[float], losses: Losses) -> float | None:
    """Return the suggestion of Lightning 2.6: the steepest descent by the *linear* rate."""
    smoothed = exponential_averages(losses, 2)
    points = [
        (rate, loss)
        for rate, loss in list(zip(learning_rates, smoothed, strict=False))[10:-1]
        if math.isfinite(loss)
    ]
    if len(points) < 2:
        return None
    slopes = [(points[1][1] - points[0][1]) / (points[1][0] - points[0][0])]
    for (x0, y0), (x1, y1), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
        # The second-order difference on an uneven grid weighs each side by the width of the other.
        slopes.append((left * (x2 - x1) + right * (x1 - x0)) / (x2 - x0))
    slopes.append((points[-1][1] - points[-2][1]) / (points[-1][0] - points[-2][0]))
    return points[slopes.index(min(slopes))][0]


PEERS: Mapping[str, Peer] = {
    "Lightning 2.6": lightning,
    "fastai valley": PUBLISHED["valley"],
    "fastai slide": PUBLISHED["slide"],
    "minimum / 10": PUBLISHED["minimum"],
    "torch-lr-finder": PUBLISHED["steepest"],
}


def over_seeds(
    peer: Peer, learning_rates: Sequence[float], losses_per_seed: Sequence[Losses]
) -> float | None:
    """Return the median over the seeds, in log space; None where no seed gives a rate."""
    rates = [peer(learning_rates, losses) for losses in losses_per_seed]
    given = [rate for rate in rates if rate is not None]
    return log_median(given) if given else None


def drop_rule(learning_rates: Sequence[float], losses_per_seed: Sequence[Losses]) -> float | None:
    """Return what this package suggested before it had trials: 75% of a sweep's drop."""
    return suggest(learning_rates, losses_per_seed).learning_rate
