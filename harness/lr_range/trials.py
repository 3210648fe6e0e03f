"""Compares short trainings at constant learning rates: the trials of one seed.

All trials of a seed start from one state and see the same batches, so their losses differ by the
learning rate alone. Rates lie on a fixed grid, counted from 1, with `GRID` points to a decade. So a
case is tried at the same rates whatever the number of steps, and wherever the search starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median, pstdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# `benchmarks/lr_rule.py` measures what these constants were chosen by: regret and spread on small
# trainings whose best constant rates are known.

GRID = 4
"""Learning rates to a decade. Trials are half a decade apart, and nearer where the range is
narrow."""

USABLE = 0.3
"""A trial counts towards the middle while it lacks less than this share of the best drop."""

AS_GOOD = 0.1
"""Within the range a trial lacks at most this share of the best drop."""

MIN_SIGNAL_TO_NOISE = 6.0
"""A drop is one when it is this far above its noise."""

# Where the next lower rate lacks more than this share of the drop, training has only just begun at
# the best: a few steps more, and lower rates would do, which the highest ones may not survive.
_JUST_BEGUN = 0.8
# The next lower rate is half a decade below.
_LOWER = GRID // 2
# The first losses of the lowest rate: one alone has the noise of its batch.
_INITIAL_STEPS = 3
# The noise of these first losses may be this share of the drop. Above it, a control is needed.
_INITIAL_NOISE = 0.05
# A trial has diverged when the median of so many losses exceeds the ceiling.
_WINDOW = 5
# The ceiling is at least this far above the initial loss, in standard deviations of one loss. It is
# also above it by as much as that loss itself: Adam's first steps may overshoot, and then learn.
_DIVERGED_SIGMAS = 10.0
# The relative noise of float32 itself.
_RESOLUTION = 2.0**-20
# Points between two neighbours, for the integral over a curve that is linear between them.
_PARTS = 10


def rate_at(point: float) -> float:
    """Return the learning rate of a point of the grid; 0 is a rate of 1."""
    return float(10 ** (point / GRID))


def point_of(learning_rate: float) -> float:
    """Return the point of the grid, with a fraction, of a learning rate."""
    return GRID * math.log10(learning_rate)


def can_stop(losses: Sequence[float], ceiling: float | None) -> bool:
    """Return whether a trial has diverged: a loss is not finite, or the last 5 exceed `ceiling`."""
    if losses and not math.isfinite(losses[-1]):
        return True
    return ceiling is not None and len(losses) >= _WINDOW and median(losses[-_WINDOW:]) > ceiling


@dataclass(frozen=True, slots=True)
class RateRange:
    """What the trials of a seed say, as points of the grid with fractions."""

    middle: float
    """The centre of the usable rates, each weighted by how far it is from unusable."""
    lowest: float
    """The lower end of the rates that are as good as the best."""
    highest: float


@dataclass(slots=True)
class Trials:
    """The trials of one seed: the raw losses of up to `horizon` steps, by point of the grid.

    The *loss* of a trial is the mean over the second half of its steps, and infinite where it
    diverged. What is *lost* at a rate is the share of the best drop that its trial lacks.
    """

    horizon: int
    control: int
    """The lowest point: hardly anything is learned there. It is tried where noise asks for it."""
    losses: dict[int, tuple[float, ...]] = field(default_factory=dict)

    @property
    def initial_loss(self) -> float:
        """The loss without training: the control's, or that of the first steps."""
        if self.control in self.losses:
            return self.loss(self.control)
        return fmean(self.losses[min(self.losses)][:_INITIAL_STEPS])

    @property
    def best(self) -> int:
        """The point with the lowest loss; of equal ones the lowest."""
        return min(sorted(self.losses), key=self.loss)

    @property
    def drop(self) -> float:
        """How far the best trial has brought the loss down; 0 where none has."""
        drop = self.initial_loss - self.loss(self.best)
        return drop if 0 < drop < math.inf else 0.0

    @property
    def noise(self) -> float:
        """The standard deviation of `drop`.

        The best trial and the control see the same batches, and so most of their noise cancels.
        """
        best = self._window(self.best)
        floor = _RESOLUTION * abs(self.initial_loss) or _RESOLUTION
        if not best or not math.isfinite(floor):
            return floor
        control = self._window(self.control) if self.control in self.losses else ()
        if control and self.best != self.control:
            differences = [one - other for one, other in zip(best, control, strict=True)]
            return max(floor, _sigma(differences) / math.sqrt(len(best)))
        return max(floor, _sigma(best) * math.sqrt(1 / len(best) + 1 / _INITIAL_STEPS))

    @property
    def signal_to_noise(self) -> float:
        """The drop over its noise."""
        return self.drop / self.noise

    @property
    def needs_control(self) -> bool:
        """Whether the first losses do not tell, or too roughly, what is lost at a rate.

        The noise of losses that are not finite is no number.
        """
        return self.control not in self.losses and not self.noise <= _INITIAL_NOISE * self.drop

    @property
    def learns_at_control(self) -> bool:
        """Whether the control itself has clearly learned, so that it is none."""
        losses = self.losses.get(self.control, ())
        window = self._window(self.control) if losses else ()
        if not window:
            return False
        drop = fmean(losses[:_INITIAL_STEPS]) - fmean(window)
        sigma = _sigma(window) * math.sqrt(1 / len(window) + 1 / _INITIAL_STEPS)
        return drop > MIN_SIGNAL_TO_NOISE * max(sigma, _RESOLUTION * abs(self.initial_loss))

    @property
    def has_signal(self) -> bool:
        """Whether some trial has clearly learned."""
        return self.signal_to_noise >= MIN_SIGNAL_TO_NOISE

    @property
    def too_short(self) -> bool:
        """Whether the horizon is too short to say anything: no drop, or one that has just begun."""
        if not self.has_signal:
            return True
        lower = [point for point in self.losses if point < self.best]
        nearest = min(lower, key=lambda point: abs(point - self.best + _LOWER), default=self.best)
        return self.lost(nearest) > _JUST_BEGUN

    @property
    def ceiling(self) -> float | None:
        """The loss above which a further trial has diverged; None where none says."""
        if not self.losses or not self._window(self.best):
            return None
        sigma = _sigma(self._window(self.best))
        return self.initial_loss + max(self.drop, _DIVERGED_SIGMAS * sigma, abs(self.initial_loss))

    def loss(self, point: int) -> float:
        """Return the loss of a trial."""
        window = self._window(point)
        return fmean(window) if window else math.inf

    def lost(self, point: int) -> float:
        """Return the share of the best drop that is lost at a point: 0 at the best, at most 1."""
        if not self.drop:
            return 1.0
        return min(1.0, (self.loss(point) - self.loss(self.best)) / self.drop)

    def lost_at(self, place: float) -> float:
        """Return what is lost at any place on the grid, linear between two points that were tried.

        Beyond those that were tried it is what is lost at the last one.
        """
        points = sorted(self.losses)
        below = max((one for one in points if one <= place), default=points[0])
        above = min((one for one in points if one >= place), default=points[-1])
        if above <= below:
            return self.lost(above if place > points[-1] else below)
        share = (place - below) / (above - below)
        return (1 - share) * self.lost(below) + share * self.lost(above)

    def is_worse(self, point: int) -> bool:
        """Return whether a trial is clearly worse than no training."""
        return self.loss(point) - self.initial_loss > MIN_SIGNAL_TO_NOISE * self.noise

    def usable(self) -> tuple[int, int]:
        """Return the lowest and the highest usable point around the best."""
        points = sorted(self.losses)
        low = high = points.index(self.best)
        while low > 0 and self.lost(points[low - 1]) < USABLE:
            low -= 1
        while high < len(points) - 1 and self.lost(points[high + 1]) < USABLE:
            high += 1
        return points[low], points[high]

    def telling(self) -> list[int]:
        """Return the points that tell the range, the best one first: enough for another seed."""
        points, (low, high) = sorted(self.losses), self.usable()
        inner = [point for point in points if low <= point <= high]
        below = [point for point in points if point < low][-1:]
        above = [point for point in points if point > high][:1]
        middle = inner[len(inner) // 2]
        return list(dict.fromkeys([self.best, middle, low, high, *below, *above]))

    @property
    def is_closed(self) -> bool:
        """Whether trials below and above the usable ones are known."""
        points, (low, high) = sorted(self.losses), self.usable()
        return self.has_signal and points[0] < low and high < points[-1]

    def range(self) -> RateRange:
        """Return what the trials say; what is lost is linear between two points."""
        points = sorted(self.losses)
        low, high = (points.index(point) for point in self.usable())
        around = points[max(0, low - 1) : high + 2]
        curve = [(float(point), self.lost(point)) for point in around]
        weighted = total = 0.0
        for (left, lost), (right, lost_right) in pairwise(curve):
            for part in range(_PARTS):
                share = (part + 0.5) / _PARTS
                weight = max(0.0, USABLE - lost - share * (lost_right - lost)) * (right - left)
                total += weight
                weighted += weight * (left + share * (right - left))
        middle = weighted / total if total else float(self.best)
        best = around.index(self.best)
        return RateRange(middle, _end(curve[best::-1]), _end(curve[best:]))

    def range_around(self, place: float) -> RateRange:
        """Return the range in which training is as good as at any place: better or hardly worse."""
        lost, points = self.lost_at(place), sorted(self.losses)
        below = [(float(one), self.lost(one)) for one in reversed(points) if one < place]
        above = [(float(one), self.lost(one)) for one in points if one > place]
        limit = lost + AS_GOOD
        return RateRange(
            place, _end([(place, lost), *below], limit), _end([(place, lost), *above], limit)
        )

    def _window(self, point: int) -> tuple[float, ...]:
        """Return the second half of a trial's losses; none where it diverged."""
        losses = self.losses[point]
        whole = len(losses) == self.horizon and all(map(math.isfinite, losses))
        return losses[self.horizon // 2 :] if whole else ()


def _end(curve: Sequence[tuple[float, float]], limit: float = AS_GOOD) -> float:
    """Return where a curve that begins at a good rate leaves the rates that are as good."""
    for (inner, lost), (outer, too_much) in pairwise(curve):
        if too_much > limit:
            return inner + (outer - inner) * (limit - lost) / (too_much - lost)
    return curve[-1][0]


def _sigma(values: Sequence[float]) -> float:
    """Return the standard deviation of single values around a slope."""
    differences = [after - before for before, after in pairwise(values)] or [0.0]
    return pstdev(differences) / math.sqrt(2)
