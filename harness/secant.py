"""From a size that fits to the largest one: a secant on peak memory, then a bracket. Pure.

Training memory is affine in the batch size over long stretches (parameters and optimizer state, plus
activations per sample), so that two peaks predict where the limit is met. The rule:

1. A second size, far from the first: 32, back by factors of 4 when it fails. Peaks at a few samples follow no
   line, and a failure of a small batch is cheap.
2. Aim where the line through the two largest sizes meets the limit, less the margin by which noise may have
   flattened it. The aim shall fit: a fit near the limit tells the room that is left, a failure tells nothing.
3. From there the prediction is good to a sample. It is tried, and then its neighbour, above it if it fits and
   below it if not.
4. Beyond a bend the line is not drawn far. After four fits, a short one needs no margin.
5. An aim that fails is stepped back from by its margin; failures after that, and near a bend, bisect. Near the
   limit, the strides away from a prediction that missed are a sample, half of the noise, and then doubled, never
   beyond the middle of the bracket.

On an affine curve that is 2, 32, aim, B, B + 1. Until something fails or a prediction is good to a sample, sizes are
scouted: they tell only where to go on. A scouted size that turns out to be the maximum is tried again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.bracket import NOISE, Attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.bracket import Bracket, Prediction

# Without peaks, and while memory hardly depends on the batch size.
_GROWTH, _FLAT_GROWTH = 4, 8
# The second size when growing, and what it is divided by when it fails.
_SECOND_SIZE, _BACK = 32, 4
# From a first size of at least so many samples, the second one is below, at this share: cheaper than beyond.
_LARGE, _BELOW = 16, 8
# The aim is never further below the prediction: noise is smaller, as a rule, and a fit there is worth less.
_MAX_MARGIN = 0.07
# A line with a bend below is drawn at most this many times its own length; ...
_BENT_REACH = 1.0
# ... that share of the way to its end is next instead: most bends are upward, and the end then lies beyond the limit.
_BENT_SHARE = 1 / 3
# After so many fits, a line that reaches beyond them by so little of its length is trusted without a margin.
_MANY_FITS, _SHORT_REACH = 4, 0.5
# The second stride away from a prediction that missed, in units of the noise near the limit; the others double.
_STRIDE = 0.5
# Aims inside a bracket, after which it is bisected: a stepped curve misleads the secant for ever.
_MAX_AIMS = 4
# After so many of them a line with a bend below is no longer followed sample by sample.
_BENT_AIMS = 2
# A closed bracket this far below the prediction, with no other failure on the way, asks for a second look.
_SURPRISE = 1.1


class Secant:
    """Chooses sizes from the peaks in a bracket in which some size fits."""

    def __init__(self, bracket: Bracket[Any]) -> None:
        self.bracket = bracket
        # Those since the last aim, and since predictions are good to a sample.
        self._strides: list[int] = []
        self._num_aims = 0
        self._near = False

    def narrow(self) -> Iterator[Attempt]:
        """Yield attempts until the bracket is closed."""
        bracket = self.bracket
        while True:
            if not bracket.closed:
                size = self._next()
                yield Attempt(size, bracket.high is None and size < bracket.maximum and not self._near)
            elif bracket.unconfirmed:
                yield Attempt(bracket.low)
            elif (beyond := self._beyond()) is not None:
                yield Attempt(beyond)
            else:
                return

    def _next(self) -> int:
        """Choose the next size in an open bracket."""
        bracket, low, high = self.bracket, self.bracket.low, self.bracket.high
        if not bracket.comparable:
            return self._grow(_GROWTH * low)
        prediction = bracket.predict()
        if prediction is None:
            return self._second_size()
        if prediction.size == math.inf:
            return self._grow(_FLAT_GROWTH * low)
        if not prediction.straight and prediction.reach > _BENT_REACH:
            share = _BENT_SHARE if high is None else 1.0
            return self._grow(int(low + share * (prediction.size - low)))
        return self._aim(prediction)

    def _grow(self, size: int) -> int:
        """Return `size`, but no more than the middle of a bracket."""
        return self.bracket.clip(size if self.bracket.high is None else min(size, self.bracket.middle))

    def _second_size(self) -> int:
        """Choose a second size to draw a line through."""
        bracket, low, high = self.bracket, self.bracket.low, self.bracket.high
        below = low // _BELOW
        if low >= _LARGE and below >= bracket.minimum and bracket.outcome(below) is None:
            return below
        return self._grow(max(_SECOND_SIZE, _GROWTH * low) if high is None else high // _BACK)

    def _aim(self, prediction: Prediction) -> int:
        """Return the predicted maximum less its margin, or a neighbour of what was tried already."""
        bracket, low, high = self.bracket, self.bracket.low, self.bracket.high
        margin = prediction.margin
        if prediction.reach <= _SHORT_REACH and len(bracket.fitting) >= _MANY_FITS and not self._strides:
            margin = min(margin, 1.0)
        if margin <= max(1.0, NOISE * prediction.size):
            if not self._near:
                self._near = True
                self._strides.clear()
            # No better than the prediction itself; rounded, so that the maximum is it or the neighbour below.
            margin, size = 1.0, round(prediction.size)
        else:
            size = int(prediction.size - min(margin, _MAX_MARGIN * prediction.size))
        if size <= low:
            return self._grow(low + self._next_stride(margin, prediction.noise))
        if high is None:
            return bracket.clip(size)
        if size < high and self._num_aims < _MAX_AIMS:
            self._num_aims += 1
            self._strides.clear()
            return size
        # Far from the limit a second failure, and beyond a bend the first or a third aim, say that the line is wrong, and
        # not by noise.
        bent = not prediction.straight and (margin > 1 or self._num_aims >= _BENT_AIMS)
        misled = bent or (margin > 1 and self._strides)
        if size < high or misled or bracket.outcome(high) != "oom":
            return bracket.middle
        return max(high - self._next_stride(margin, prediction.noise), bracket.middle)

    def _next_stride(self, margin: float, noise: float) -> int:
        """Return the margin, then at least half of the noise, then twice as much each time; in samples."""
        if not self._strides:
            self._strides.append(round(margin))
        elif len(self._strides) == 1:
            self._strides.append(max(self._strides[0], round(_STRIDE * noise)))
        else:
            self._strides.append(2 * self._strides[-1])
        return self._strides[-1]

    def _beyond(self) -> int | None:
        """Choose a size to look at beyond a failure that the peaks do not explain.

        Memory need not be monotone: a workspace that is used for certain sizes only can make one of them
        fail far below the maximum. Half-way to the prediction, or well beyond the failure where the peaks do
        not rise at all, something else has to fit or fail.
        """
        bracket, high, prediction = self.bracket, self.bracket.high, self.bracket.predict()
        if high is None or prediction is None or bracket.outcome(high) != "oom":
            return None
        if prediction.size < _SURPRISE * high + 1:
            return None
        half_way = _FLAT_GROWTH * high if prediction.size == math.inf else int(high + prediction.size) // 2
        beyond = min(half_way, bracket.maximum)
        seen = any(high < size <= _SURPRISE * prediction.size for size, _ in bracket.trials)
        return None if seen or beyond == high else beyond
