"""Reads one learning rate off one sweep, by rules that other finders have published. Pure.

Each rule smooths the losses, and leaves out steps at both ends, as its package does by default.
`valley`, `slide` and `minimum` are fastai's (`fastai.callback.schedule`), `steepest` is
torch-lr-finder's. None of them asks whether the loss has fallen at all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Rule = Callable[[Sequence[float], Sequence[float | None]], float | None]
    """Learning rates and the raw loss of each, fewer where it diverged -> a rate, or None."""

# fastai's and Lightning's exponential averages.
_DECAY = 0.98
# They stop where an average exceeds so many times the best so far, torch-lr-finder a bit later.
_STOP = 4
_STEEPEST_DECAY = 0.95
_STEEPEST_STOP = 5
# The steps that torch-lr-finder leaves out at both ends.
_SKIPPED = 10
_SKIPPED_AT_END = 5
# How many points `slide` has between the two gradients that it compares, and how alike they are.
_SLIDE = 15
_ALIKE = 0.005


def valley(learning_rates: Sequence[float], losses: Sequence[float | None]) -> float | None:
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


def slide(learning_rates: Sequence[float], losses: Sequence[float | None]) -> float | None:
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


def minimum(learning_rates: Sequence[float], losses: Sequence[float | None]) -> float | None:
    """Return fastai's `minimum`: a tenth of the rate with the lowest smoothed loss."""
    rates, smoothed = _fastai(learning_rates, losses)
    return rates[smoothed.index(min(smoothed))] / 10 if smoothed else None


def steepest(learning_rates: Sequence[float], losses: Sequence[float | None]) -> float | None:
    """Return torch-lr-finder's suggestion: the steepest descent of the loss by the step.

    Its average starts at the first loss, and it stops at 5 times the lowest average.
    """
    smoothed: list[float] = []
    for loss in losses:
        value = math.nan if loss is None else loss
        if smoothed:
            value = (1 - _STEEPEST_DECAY) * value + _STEEPEST_DECAY * smoothed[-1]
        if not math.isfinite(value):
            break
        smoothed.append(value)
        if value > _STEEPEST_STOP * min(smoothed):
            break
    shown = smoothed[_SKIPPED:-_SKIPPED_AT_END]
    if len(shown) < 2:  # noqa: PLR2004 - a gradient needs two points
        return None
    gradients = _gradients(shown)
    return learning_rates[_SKIPPED + gradients.index(min(gradients))]


PUBLISHED: Mapping[str, Rule] = {
    "valley": valley,
    "slide": slide,
    "minimum": minimum,
    "steepest": steepest,
}
"""The rules by their names in the matrix."""


def exponential_averages(losses: Sequence[float | None], bias_exponent: int) -> list[float]:
    """Return the exponential averages of losses, with decay 0.98.

    Both finders stop where an average exceeds 4 times the best so far, and so does this. The bias
    of step i is corrected with the exponent i + `bias_exponent`: 1 is exact, and Lightning uses 2.
    """
    average, best, smoothed = 0.0, math.inf, []
    for step, loss in enumerate(losses):
        average = _DECAY * average + (1 - _DECAY) * (math.nan if loss is None else loss)
        value = average / (1 - _DECAY ** (step + bias_exponent))
        smoothed.append(value)
        if not value <= _STOP * best and step > 0:
            break
        best = min(best, value)
    return smoothed


def _fastai(
    learning_rates: Sequence[float], losses: Sequence[float | None]
) -> tuple[list[float], list[float]]:
    """Return the rates and the smoothed losses that fastai's rules see."""
    begin = len(learning_rates) // 10
    smoothed = exponential_averages(losses, 1)[begin:-5]
    finite = next((i for i, loss in enumerate(smoothed) if math.isnan(loss)), len(smoothed))
    return list(learning_rates[begin : begin + finite]), smoothed[:finite]


def _gradients(values: Sequence[float]) -> list[float]:
    """Return central differences by the index, and one-sided ones at both ends."""
    inner = [(after - before) / 2 for before, after in zip(values, values[2:], strict=False)]
    return [values[1] - values[0], *inner, values[-1] - values[-2]]
