"""Searches from a size that fits to the largest: a secant on peak memory, then a bracket. Pure.

Training memory is affine in the batch size over long stretches: parameters and optimizer state,
plus activations per sample. So two peaks predict the size at which the limit is met. The rule:

1. Try a second size far from the first: 32, and a quarter of it as long as it fails. The peaks of
   a few samples lie on no line, and a failure of a small batch is cheap.
2. Aim at the size at which the line through the two largest sizes meets the limit, less a margin
   for noise that may have flattened the line. The aim should fit: a fit near the limit shows how
   much memory is left, and a failure shows nothing.
3. Then the prediction is good to a sample. Try it, and then its neighbour: above it if it fits,
   below it if not.
4. Beyond a bend, do not extend the line far. After four fits, a short extension needs no margin.
5. After an aim that fails, step back by its margin. After further failures, and near a bend,
   bisect. Near the limit, step away from a prediction that missed: by one sample, then by half of
   the noise, then by twice the last step, but never beyond the middle of the bracket.

On an affine curve the sizes are 2, 32, the aim, B and B + 1. Sizes are scouted until one fails or a
prediction is good to a sample, because until then they only show where to go on. A scouted size
that turns out to be the maximum is probed in full, and so is one below several failures. If it
fails, no scout is believed any more: the search goes down from there until a size fits in full.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.search.bracket import NOISE, NextProbe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.search.bracket import Bracket, Extrapolation

# Sizes grow by the first factor without peaks, by the second while memory hardly rises with them.
_GROWTH, _FLAT_GROWTH = 4, 8
# The second size, and the divisor of a second size that fails.
_SECOND_SIZE, _BACK = 32, 4
# The first step down from a size that a scout saw fit, and that fails in full, as a share of it.
_BACK_SHARE = 0.03
# After a first size of at least 16 samples, the second is an eighth of it: cheaper than a larger.
_LARGE, _BELOW = 16, 8
# The aim is at most this share below the prediction. Noise is smaller as a rule, and a fit further
# down shows less.
_MAX_MARGIN = 0.07
# A line with a bend below is followed to its end if that extends it by at most this multiple of its
# own length.
_BENT_REACH = 1.0
# Otherwise it is followed for this share of the way: most bends are upward, so that its end lies
# beyond the limit.
_BENT_SHARE = 1 / 3
# After this number of fits, an extension of at most this share of the line needs no margin.
_MANY_FITS, _SHORT_REACH = 4, 0.5
# The second stride away from a prediction that missed, in multiples of the noise near the limit.
# Later strides double.
_STRIDE = 0.5
# After this number of aims inside a bracket it is bisected: a stepped curve would mislead the
# secant for ever.
_MAX_AIMS = 4
# After this number of aims, a line with a bend below is no longer followed sample by sample.
_BENT_AIMS = 2
# The search looks beyond a closed bracket if the prediction is larger by this factor, and no other
# size between the two was tried.
_SURPRISE = 1.1


class Secant:
    """Chooses the next sizes from the peaks in a bracket. At least one size must seem to fit."""

    def __init__(self, bracket: Bracket[Any]) -> None:
        self.bracket = bracket
        # The strides in samples since the last aim, or since predictions are good to a sample.
        self._strides: list[int] = []
        self._num_aims = 0
        self._downs = 0
        # Whether predictions are good to a sample.
        self._near = False

    def narrow(self) -> Iterator[NextProbe]:
        """Yield probes until the bracket is closed."""
        bracket = self.bracket
        while True:
            if bracket.doubtful:
                yield NextProbe(bracket.low)
            elif not bracket.fitting:
                if bracket.closed:
                    return
                yield NextProbe(self._down())
            elif not bracket.closed:
                size = self._next()
                scouting = bracket.high is None and size < bracket.maximum and not self._near
                yield NextProbe(size, scouting and not bracket.misled)
            elif bracket.unconfirmed:
                yield NextProbe(bracket.low)
            elif (beyond := self._beyond()) is not None:
                yield NextProbe(beyond)
            else:
                return

    def _next(self) -> int:
        """Return the next size in an open bracket."""
        bracket, low, high = self.bracket, self.bracket.low, self.bracket.high
        if not bracket.comparable:
            return self._grow(_GROWTH * low)
        line = bracket.extrapolate()
        if line is None:
            return self._second_size()
        if line.size == math.inf:
            return self._grow(_FLAT_GROWTH * low)
        if not line.straight and line.reach > _BENT_REACH:
            share = _BENT_SHARE if high is None else 1.0
            return self._grow(int(low + share * (line.size - low)))
        return self._aim(line)

    def _down(self) -> int:
        """Return a size below all failures, where nothing is known to fit: just below, then half.

        A scout that was wrong by little has the maximum next to it.
        """
        high = self.bracket.high
        assert high is not None, "a scout was refuted"
        share = _BACK_SHARE if not self._downs else 0.5
        self._downs += 1
        return self.bracket.clip(high - math.ceil(share * high))

    def _grow(self, size: int) -> int:
        """Return `size`, but at most the middle of a bracket with a failure."""
        return self.bracket.clip(
            size if self.bracket.high is None else min(size, self.bracket.middle)
        )

    def _second_size(self) -> int:
        """Return a second size, far enough from the first to draw a line through both."""
        bracket, low, high = self.bracket, self.bracket.low, self.bracket.high
        below = low // _BELOW
        if low >= _LARGE * bracket.step and below >= bracket.minimum:
            below = bracket.at_most(below)
            if bracket.outcome(below) is None:
                return below
        second = max(_SECOND_SIZE, _GROWTH * low)
        return self._grow(second if high is None else high // _BACK)

    def _aim(self, line: Extrapolation) -> int:
        """Return the predicted maximum less its margin, or a size next to one already tried."""
        bracket, low, high = self.bracket, self.bracket.low, self.bracket.high
        margin, step = line.margin, self.bracket.step
        if line.reach <= _SHORT_REACH and len(bracket.fitting) >= _MANY_FITS and not self._strides:
            margin = min(margin, step)
        if margin <= max(step, NOISE * line.size):
            if not self._near:
                self._near = True
                self._strides.clear()
            # No prediction is better than to a sample, or to a step of several. Rounded, it is the
            # maximum or the size above it.
            margin, size = step, step * round(line.size / step)
        else:
            size = int(line.size - min(margin, _MAX_MARGIN * line.size))
        if size <= low:
            return self._grow(low + self._next_stride(margin, line.noise))
        if high is None:
            return bracket.clip(size)
        if size < high and self._num_aims < _MAX_AIMS:
            self._num_aims += 1
            self._strides.clear()
            return bracket.clip(size)
        # More than noise is wrong with the line after a second failure far from the limit, and
        # beyond a bend after the first failure or a third aim.
        bent = not line.straight and (margin > step or self._num_aims >= _BENT_AIMS)
        misled = bent or (margin > step and self._strides)
        if size < high or misled or bracket.outcome(high) != "oom":
            return bracket.middle
        return max(bracket.clip(high - self._next_stride(margin, line.noise)), bracket.middle)

    def _next_stride(self, margin: float, noise: float) -> int:
        """Return the next stride in samples: the margin, then half of the noise, then the double.

        The second stride is at least as large as the first.
        """
        if not self._strides:
            self._strides.append(round(margin))
        elif len(self._strides) == 1:
            self._strides.append(max(self._strides[0], round(_STRIDE * noise)))
        else:
            self._strides.append(2 * self._strides[-1])
        return self._strides[-1]

    def _beyond(self) -> int | None:
        """Return a size to try beyond a failure that the peaks do not explain, or None.

        Memory need not be monotone: a workspace that only certain sizes use can make one of them
        fail far below the maximum. The size is half-way to the prediction, or well beyond the
        failure where the peaks do not rise at all.
        """
        bracket, high, line = self.bracket, self.bracket.high, self.bracket.extrapolate()
        if high is None or line is None or bracket.outcome(high) != "oom":
            return None
        if line.size < _SURPRISE * high + 1:
            return None
        half_way = _FLAT_GROWTH * high if line.size == math.inf else int(high + line.size) // 2
        beyond = bracket.at_most(half_way)
        seen = any(high < size <= _SURPRISE * line.size for size, _ in bracket.probes)
        return None if seen or beyond <= high else beyond
