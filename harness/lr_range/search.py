"""Searches the learning rates at which the short trainings of a seed bring the loss down. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, floor, isfinite
from typing import TYPE_CHECKING

from harness.lr_range.trials import Trials, point_of, rate_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Train = Callable[[int, float, int, float | None], Sequence[float]]
    """Seed, learning rate, steps, ceiling -> the raw loss of each step; fewer if it diverged."""

# Two points are half a decade apart.
_STRIDE = 2
# The log of a power of ten may miss the whole number.
_TOLERANCE = 1e-9


class OutOfStepsError(Exception):
    """The next trial would exceed the number of steps."""


@dataclass
class TrialSearch:
    """Tries learning rates, seed by seed, within a range and a number of steps."""

    train: Train
    horizon: int
    lr_min: float
    lr_max: float
    max_steps: int
    steps: int = 0
    """Steps that were taken, also before the trials."""
    seeds: dict[int, Trials] = field(default_factory=dict)

    def explore(self, seed: int, start: float | Sequence[int]) -> Trials:
        """Try rates until both ends of the usable ones are known.

        start: a learning rate to begin around, or the points that told the range of another seed.

        Raises OutOfStepsError, and whatever `train` raises; the trials so far are in `seeds`.
        """
        trials = self.seeds.setdefault(seed, Trials(self.horizon, self.lowest))
        points = [self._nearest(start)] if isinstance(start, int | float) else list(start)
        for point in points:
            self._try(seed, trials, point)
        while (found := self._next(trials)) is not None:
            self._try(seed, trials, found)
        return trials

    def _nearest(self, learning_rate: float) -> int:
        """Return the nearest point at a whole number of strides, within the range."""
        point = _STRIDE * round(point_of(learning_rate) / _STRIDE)
        return min(max(point, self.lowest), self.highest)

    @property
    def lowest(self) -> int:
        """The lowest point in the range of the learning rate."""
        return ceil(point_of(self.lr_min) - _TOLERANCE)

    @property
    def highest(self) -> int:
        """The highest point in the range of the learning rate."""
        return floor(point_of(self.lr_max) + _TOLERANCE)

    def _try(self, seed: int, trials: Trials, point: int) -> None:
        if point in trials.losses:
            return
        if self.steps + self.horizon > self.max_steps:
            raise OutOfStepsError
        # The control diverges at no loss: where the first steps learn much, it lies far above them.
        ceiling = None if point == trials.control else trials.ceiling
        losses = tuple(self.train(seed, rate_at(point), self.horizon, ceiling))
        self.steps += len(losses)
        trials.losses[point] = losses

    def _next(self, trials: Trials) -> int | None:
        """Return the next point to try; None at the end."""
        highest = self.highest
        if trials.needs_control:
            return trials.control
        if not trials.has_signal:
            return _towards_a_drop(trials, highest)
        tried, (low, high) = trials.losses, trials.usable()
        above, below = range(high + 1, high + _STRIDE + 1), range(low - _STRIDE, low)
        if high < highest and not any(point in tried for point in above):
            return min(above[-1], highest)
        if low > trials.control and not any(point in tried for point in below):
            return max(below[0], trials.control)
        if high - low >= _STRIDE:
            return None
        # With one usable point, the middle would jump from neighbour to neighbour.
        between = (above[0], below[-1])
        return next(
            (point for point in between if trials.control < point < highest and point not in tried),
            None,
        )


def _towards_a_drop(trials: Trials, highest: int) -> int | None:
    """Return the next point where no trial has clearly learned yet; None where none is left.

    Rates that are too low change nothing, so the way is up. Rates that are too high are worse than
    no training: the way is down. In the end both neighbours of the best are tried. Where not even
    the control has finite losses, no rate will.
    """
    if not isfinite(trials.initial_loss):
        return None
    tried = sorted(point for point in trials.losses if point != trials.control)
    if not tried:
        return trials.control + _STRIDE
    flat = [point for point in tried if not trials.is_worse(point)]
    if not flat:
        below = tried[0] - _STRIDE
        return below if below > trials.control else None
    best = min(flat, key=trials.loss)
    candidates = [flat[-1] + _STRIDE]
    if trials.initial_loss - trials.loss(best) > trials.noise:
        candidates.append(best - _STRIDE)
    return next(
        (
            point
            for point in candidates
            if trials.control < point <= highest and point not in trials.losses
        ),
        None,
    )
