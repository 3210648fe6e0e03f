"""What the trials of a search tell so far: what fits, what fails, and what the peaks predict. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from harness.measurement import Outcome

# Between two neighbours the difference of the peaks is noise. A line is drawn through sizes this far apart
# (smaller / larger), or whose peaks are, by this share of the limit.
_DISTINCT_SIZES = 0.75
_DISTINCT_PEAKS = 0.05
# Peaks lie off a line by about this share, because of allocation granularity and workspaces.
NOISE = 0.003
# ... and two of them, of small batches in particular, by so many times as much from each other.
_TOLERANCE = 3
# A line that rises by no more than this many times that tells no slope.
_FLAT = 2


class Trial(Protocol):
    """What a probe returns; `harness.measurement.Probe` is one."""

    @property
    def outcome(self) -> Outcome:
        """How the probe ended."""
        ...

    @property
    def peak_memory_bytes(self) -> int | None:
        """Its peak; read only when it fits, because a probe that fails stops short of its peak."""
        ...


TrialT = TypeVar("TrialT", bound=Trial)


class Attempt(NamedTuple):
    """What a mode asks for next."""

    size: int
    scouting: bool = False
    """The trial only shows where to aim: it may be a cheaper one, and a fit is not yet an answer."""


class Prediction(NamedTuple):
    """Where the line through two peaks meets the memory limit; sizes in samples."""

    size: float
    """The largest batch size according to the line, fraction included; infinite when it does not rise."""
    margin: float
    """By how much that is too large, if noise in the two peaks has flattened the line."""
    reach: float
    """How far the line is drawn beyond its two points, in multiples of their difference in memory."""
    noise: float
    """The number of samples that take as much memory as the noise of a peak near the limit."""
    straight: bool
    """Whether the next peak below lies on the same line, but for noise: a bend further down is left behind."""


@dataclass
class Bracket(Generic[TrialT]):
    """The trials so far, and the open interval (`low`, `high`) that holds the largest batch size.

    Sizes are in samples. Memory is not assumed to be monotone: the interval begins at the largest size that
    fits, and failures below it do not count. Of two trials at one size, the later one counts.
    """

    minimum: int
    maximum: int
    limit_bytes: int | None = None
    trials: list[tuple[int, TrialT]] = field(default_factory=list)
    scouted: set[int] = field(default_factory=set)
    """The sizes that were tried by scouting alone."""

    def add(self, attempt: Attempt, trial: TrialT) -> None:
        """Enter how an attempt ended."""
        self.trials.append((attempt.size, trial))
        (self.scouted.add if attempt.scouting else self.scouted.discard)(attempt.size)

    @property
    def _latest(self) -> dict[int, TrialT]:
        """The trial that counts at each size."""
        return dict(self.trials)

    def outcome(self, size: int) -> Outcome | None:
        """Return how the trial at `size` ended, None if there was none."""
        trial = self._latest.get(size)
        return None if trial is None else trial.outcome

    def failed(self, size: int) -> bool:
        """Whether `size` was tried and does not fit."""
        return self.outcome(size) not in (None, "fits")

    @property
    def fitting(self) -> list[int]:
        """The sizes that fit, ascending."""
        return sorted(size for size, trial in self._latest.items() if trial.outcome == "fits")

    @property
    def low(self) -> int:
        """The largest size that fits; `minimum - 1` when none does."""
        return max(self.fitting, default=self.minimum - 1)

    @property
    def high(self) -> int | None:
        """The smallest size above `low` that fails; None when none does."""
        low = self.low
        failing = (size for size, trial in self._latest.items() if size > low and trial.outcome != "fits")
        return min(failing, default=None)

    @property
    def closed(self) -> bool:
        """Whether nothing is left to try: `low` is the maximum, or `low + 1` fails."""
        return self.low == self.maximum or self.high == self.low + 1

    @property
    def unconfirmed(self) -> bool:
        """Whether that `low` fits is known from scouting alone."""
        return self.low in self.scouted

    @property
    def middle(self) -> int:
        """The size half-way between `low` and a known `high`."""
        assert self.high is not None
        return (self.low + self.high) // 2

    def clip(self, size: int) -> int:
        """Return the size inside the open interval that is nearest to `size`."""
        high = self.maximum + 1 if self.high is None else self.high
        return max(self.low + 1, min(size, high - 1))

    @property
    def peaks(self) -> list[tuple[int, int]]:
        """The sizes that fit and their peaks in bytes, ascending; empty without a limit to compare with."""
        if self.limit_bytes is None:
            return []
        return sorted(
            (size, trial.peak_memory_bytes)
            for size, trial in self._latest.items()
            if trial.outcome == "fits" and trial.peak_memory_bytes
        )

    @property
    def comparable(self) -> bool:
        """Whether the peak at `low` is known, and a limit to compare it with."""
        return any(size == self.low for size, _ in self.peaks)

    def predict(self) -> Prediction | None:
        """Draw a line through the peaks at `low` and at the nearest distinct size below, up to the memory limit.

        None when there are no two such peaks. A line that hardly rises beyond noise predicts infinity.
        """
        peaks, limit = self.peaks, self.limit_bytes
        if limit is None or not self.comparable:
            return None
        low, top = peaks[-1]
        distinct = [
            (size, peak)
            for size, peak in peaks
            if size <= _DISTINCT_SIZES * low or top - peak >= _DISTINCT_PEAKS * limit
        ]
        if not distinct:
            return None
        size, peak = distinct[-1]
        run, rise, room = low - size, top - peak, limit - top
        tolerance = _TOLERANCE * NOISE * top
        if rise <= _FLAT * tolerance:
            return Prediction(math.inf, math.inf, math.inf, math.inf, straight=True)
        slope = rise / run
        return Prediction(
            size=low + room / slope,
            margin=room / slope * tolerance / (rise + tolerance),
            reach=room / rise,
            noise=NOISE * limit / slope,
            straight=all(
                abs(top - slope * (low - size) - peak) <= NOISE * top for size, peak in distinct[-2:]
            ),
        )
