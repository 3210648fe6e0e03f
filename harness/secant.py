"""From a size that fits to the largest one: a secant on peak memory, then a bracket. Pure.

Training memory is affine in the batch size over long stretches (parameters and optimizer state, plus
activations per sample), so that two peaks predict where the limit is met. The line is not trusted far from
its points: it may bend where the peak moves from the optimizer step to the backward pass.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.bracket import Bracket, Prediction

# Growth until two peaks differ by more than noise: enough to get there, too little to waste work beyond the maximum.
_GROWTH = 4
# Growth while memory hardly depends on the batch size, and where half of it is in use already.
_FLAT_GROWTH, _FLAT_SHARE = 8, 0.02
_FULL_GROWTH, _FULL_SHARE = 2, 0.5
# A prediction is trusted when its line is drawn at most this many times the distance between the two points;
# beyond a bend, at most as far as that distance.
_TRUSTED_REACH, _BENT_REACH = 4.0, 1.0
# One that is not is tested at this share of it first: cheap, and far enough for the next to be trusted.
_STEPPING_STONE = 0.3
# ... but by one step of this factor at most.
_MAX_GROWTH = 32
# Where to take a second peak below one that is near the limit already, as a share of its size.
_SECOND_POINT = 1 / 8
# So few more samples are found by trying them.
_FEW = 2
# In units of the noise near the limit: the second stride away from a prediction that missed, and the width
# within which neither the secant nor a longer stride tells more than bisection does.
_STRIDE, _BLUR = 0.5, 2.0
# Secants inside a bracket, after which it is bisected: a stepped curve misleads the secant for ever.
_MAX_SECANTS = 2
# A closed bracket this far below the prediction, with no other failure on the way, asks for a second look.
_SURPRISE = 1.1


class Secant:
    """Chooses sizes from the peaks in a bracket in which some size fits."""

    def __init__(self, bracket: Bracket[Any]) -> None:
        self.bracket = bracket
        # Sizes near the predicted maximum: a failure there is a near miss, one elsewhere is not.
        self._aimed: set[int] = set()
        self._stride = 0
        self._num_secants = 0

    def narrow(self) -> Iterator[int]:
        """Yield sizes until the bracket is closed."""
        bracket = self.bracket
        while True:
            high = bracket.high
            if not bracket.closed:
                yield self._upward() if high is None else self._inward(high)
            elif high is not None and (beyond := self._beyond(high)) is not None:
                yield beyond
            else:
                return

    def _upward(self) -> int:
        """Choose the next size while nothing above `low` has failed."""
        bracket, low = self.bracket, self.bracket.low
        if bracket.share is None:
            return bracket.clip(_GROWTH * low)
        prediction = bracket.predict()
        if prediction is None:
            return self._second_point(bracket.share)
        if prediction.reach == math.inf:
            return bracket.clip(_FLAT_GROWTH * low)
        stone = int(prediction.cautious * _STEPPING_STONE)
        if prediction.reach > _TRUSTED_REACH and stone >= 2 * low:
            return bracket.clip(min(stone, _MAX_GROWTH * low))
        if not prediction.straight and prediction.reach > _BENT_REACH:
            return bracket.clip((low + prediction.size) // 2)
        return self._aim(prediction)

    def _second_point(self, share: float) -> int:
        """Choose a second size to draw a line through; `share` of the limit is in use at the first."""
        bracket, low = self.bracket, self.bracket.low
        below = int(low * _SECOND_POINT)
        if below >= bracket.minimum and bracket.outcome(below) is None:
            # No line starts below zero memory, so that the room left holds this many more samples at least.
            if low * (1 - share) / share < _FEW:
                return self._walk_up(0.0)
            if share > _STEPPING_STONE:
                return below
        growth = _FLAT_GROWTH if share < _FLAT_SHARE else _FULL_GROWTH if share > _FULL_SHARE else _GROWTH
        return bracket.clip(growth * low)

    def _inward(self, high: int) -> int:
        """Choose the next size between `low` and `high`."""
        bracket, low, middle = self.bracket, self.bracket.low, self.bracket.middle
        prediction = bracket.predict()
        by_memory = bracket.outcome(high) == "oom"
        if prediction is None:
            return self._stone(high) if by_memory and bracket.share is not None else middle
        if prediction.reach > _TRUSTED_REACH:
            return self._stone(min(high, prediction.cautious))
        if not prediction.straight and prediction.reach > _BENT_REACH:
            return min(middle, bracket.clip((low + prediction.size) // 2))
        near_miss = by_memory and high in self._aimed
        if near_miss and low in self._aimed and high - low <= _BLUR * prediction.noise:
            return middle
        if prediction.size < high:
            self._num_secants += 1
            return self._aim(prediction) if self._num_secants <= _MAX_SECANTS else middle
        return self._walk_down(high, prediction.noise) if near_miss and prediction.straight else middle

    def _stone(self, towards: int) -> int:
        """Return a first step towards a size that is not trusted, or the middle where that is no step."""
        stone = int(_STEPPING_STONE * towards)
        return stone if stone >= 2 * self.bracket.low else self.bracket.middle

    def _aim(self, prediction: Prediction) -> int:
        """Return the predicted maximum; next to it, the neighbour, because that may settle the search."""
        low = self.bracket.low
        room = prediction.size - low
        if room <= 0 or (low in self._aimed and room <= prediction.noise):
            return self._walk_up(prediction.noise)
        return self._near(self.bracket.clip(prediction.size))

    def _walk_up(self, noise: float) -> int:
        size = self.bracket.clip(self.bracket.low + self._next_stride(noise))
        return self._near(size if self.bracket.high is None else min(size, self.bracket.middle))

    def _walk_down(self, high: int, noise: float) -> int:
        return self._near(max(high - self._next_stride(noise), self.bracket.middle))

    def _next_stride(self, noise: float) -> int:
        """Return 1, then about the noise in samples, then twice as much each time."""
        self._stride = max(2 * self._stride, round(_STRIDE * noise)) if self._stride else 1
        return self._stride

    def _near(self, size: int) -> int:
        self._aimed.add(size)
        return size

    def _beyond(self, high: int) -> int | None:
        """Choose a size to look at beyond a failure at `high` that the peaks do not explain.

        Memory need not be monotone: a workspace that is used for certain sizes only can make one of them
        fail far below the maximum. Half-way to the prediction, something else has to fit or fail.
        """
        bracket, prediction = self.bracket, self.bracket.predict()
        if prediction is None or prediction.reach == math.inf or bracket.outcome(high) != "oom":
            return None
        if prediction.size < _SURPRISE * high + 1:
            return None
        beyond = min((high + prediction.size) // 2, bracket.maximum)
        seen = any(high < size <= _SURPRISE * prediction.size for size, _ in bracket.trials)
        return None if seen or beyond == high else beyond
