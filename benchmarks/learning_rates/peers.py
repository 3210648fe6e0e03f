"""Other learning rate finders' rules, on the losses of one sweep, with each finder's own smoothing.

Lightning 2.6 (`Tuner.lr_find`), fastai (`valley`, `slide` and `minimum`) and torch-lr-finder
(steepest gradient). Each is as its package has it by default; over several seeds the suggestion is
the median in log space, though none of them asks for more than one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.lr_range.ratio import log_median
from harness.lr_range.suggestion import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Losses = Sequence[float | None]
    Peer = Callable[[Sequence[float], Losses], float | None]

_DECAY = 0.98
_TORCH_LR_FINDER_DECAY = 0.95
# How many points `slide` has between the two gradients that it compares, and how alike they are.
_SLIDE = 15
_ALIKE = 0.005


def _smoothed(losses: Losses, bias_exponent: int) -> list[float]:
    """Return the exponential averages of losses, with decay 0.98.

    Both finders stop where an average exceeds 4 times the best so far, and so does this. The bias
    of step i is corrected with the exponent i + `bias_exponent`: 1 is exact, and Lightning uses 2.
    """
    average, best, smoothed = 0.0, math.inf, []
    for step, loss in enumerate(losses):
        average = _DECAY * average + (1 - _DECAY) * (math.nan if loss is None else loss)
        value = average / (1 - _DECAY ** (step + bias_exponent))
        smoothed.append(value)
        if not value <= 4 * best and step > 0:
            break
        best = min(best, value)
    return smoothed


def _gradients(values: Sequence[float]) -> list[float]:
    """Return central differences by the index, and one-sided ones at both ends."""
    inner = [(after - before) / 2 for before, after in zip(values, values[2:], strict=False)]
    return [values[1] - values[0], *inner, values[-1] - values[-2]]


def lightning(learning_rates: Sequence[float], losses: Losses) -> float | None:
    """Return the suggestion of Lightning 2.6: the steepest descent by the *linear* rate."""
    smoothed = _smoothed(losses, 2)
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


def _fastai(learning_rates: Sequence[float], losses: Losses) -> tuple[list[float], list[float]]:
    """Return the rates and the smoothed losses that fastai's rules see."""
    begin = len(learning_rates) // 10
    smoothed = _smoothed(losses, 1)[begin:-5]
    finite = next((i for i, loss in enumerate(smoothed) if math.isnan(loss)), len(smoothed))
    return list(learning_rates[begin : begin + finite]), smoothed[:finite]


def valley(learning_rates: Sequence[float], losses: Losses) -> float | None:
    """Return fastai's `valley`: half way along the longest sequence of ever smaller losses."""
    rates, smoothed = _fastai(learning_rates, losses)
    if not smoothed:
        return None
    longest = [1] * len(smoothed)
    for step, loss in enumerate(smoothed):
        longest[step] += max((longest[i] for i in range(step) if loss < smoothed[i]), default=0)
    length = max(longest)
    start = longest.index(length) - length
    return rates[max(start + length // 3 + length // 6, 0)]


def slide(learning_rates: Sequence[float], losses: Losses) -> float | None:
    """Return fastai's `slide`: from the right, the first rate whose gradient is that further up."""
    rates, smoothed = _fastai(learning_rates, losses)
    if len(smoothed) <= _SLIDE:
        return None
    gradients = _gradients(smoothed)
    left = len(gradients) - 1 - _SLIDE
    found = rates[left]
    while left >= 0 and abs(gradients[left + _SLIDE] - gradients[left]) > _ALIKE:
        found = rates[left]
        left -= 1
    return found


def minimum(learning_rates: Sequence[float], losses: Losses) -> float | None:
    """Return fastai's `minimum`: a tenth of the rate with the lowest smoothed loss."""
    rates, smoothed = _fastai(learning_rates, losses)
    return rates[smoothed.index(min(smoothed))] / 10 if smoothed else None


def torch_lr_finder(learning_rates: Sequence[float], losses: Losses) -> float | None:
    """Return torch-lr-finder's suggestion: the steepest descent of the loss by the step.

    Its average starts at the first loss, and it stops at 5 times the lowest average.
    """
    smoothed: list[float] = []
    for loss in losses:
        value = math.nan if loss is None else loss
        if smoothed:
            value = (1 - _TORCH_LR_FINDER_DECAY) * value + _TORCH_LR_FINDER_DECAY * smoothed[-1]
        if not math.isfinite(value):
            break
        smoothed.append(value)
        if value > 5 * min(smoothed):
            break
    shown = smoothed[10:-5]
    if len(shown) < 2:
        return None
    gradients = _gradients(shown)
    return learning_rates[10 + gradients.index(min(gradients))]


PEERS: Mapping[str, Peer] = {
    "Lightning 2.6": lightning,
    "fastai valley": valley,
    "fastai slide": slide,
    "minimum / 10": minimum,
    "torch-lr-finder": torch_lr_finder,
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
