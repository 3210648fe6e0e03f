"""Holds the probes of a search: the sizes that fit, the sizes that fail, and their peaks. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measurement import Outcome

# The peaks of two neighbours differ by noise only. A line is drawn through two sizes if the smaller
# is at most this share of the larger, or if their peaks differ by at least this share of the limit.
_DISTINCT_SIZES = 0.75
_DISTINCT_PEAKS = 0.05
# Peaks lie off a line by about this share, because of allocation granularity and workspaces.
NOISE = 0.003
# The noise in the difference of two peaks, as a multiple of NOISE; small batches need the most.
_TOLERANCE = 3
# A rise of at most this many tolerances shows no slope.
_FLAT = 2
# A full fit from this share of a refuted size on shows that the scout has overlooked little.
_CLOSE = 0.95
# After this number of failures the scout's fit below them is probed in full before the search goes
# on: with peaks on a line the first or the second of them is next to the maximum.
_DOUBTFUL = 3


class ProbeResult(Protocol):
    """The result of a probe; `harness.measurement.Probe` is one."""

    @property
    def outcome(self) -> Outcome:
        """How the probe ended."""
        ...

    @property
    def peak_memory_bytes(self) -> int | None:
        """The peak, used only of a probe that fits: one that fails stops short of its peak."""
        ...


ProbeT = TypeVar("ProbeT", bound=ProbeResult)


class NextProbe(NamedTuple):
    """The probe that a mode asks for next."""

    size: int
    scouting: bool = False
    """Whether a scout, which is cheaper, may run in its place; a scout's fit is not an answer."""


class Extrapolation(NamedTuple):
    """The point at which the line through two peaks meets the memory limit; sizes in samples."""

    size: float
    """The largest batch size on the line, with its fraction; infinite if the line does not rise."""
    margin: float
    """The most by which `size` is too large if noise in the two peaks has flattened the line."""
    reach: float
    """The memory from the upper point to the limit, in multiples of that between the two points."""
    noise: float
    """The noise of a peak near the limit, as a number of samples that take this memory."""
    straight: bool
    """Whether the next peak below lies on the line, but for noise; others do not count."""


@dataclass
class Bracket(Generic[ProbeT]):
    """The probes so far, and the largest size that fits (`low`) with the failure above it (`high`).

    Memory need not be monotone: failures below `low` do not count. If a size was probed twice, the
    later probe counts.
    """

    sizes: Sequence[int]
    """The sizes that may be tried, ascending; a range where they are multiples of a step."""
    limit_bytes: int | None = None
    probes: list[tuple[int, ProbeT]] = field(default_factory=list)
    scouted: set[int] = field(default_factory=set)
    """The sizes that only a scout has tried."""
    misled: bool = False
    """Whether a size that a scout saw fit has failed in full, and none near it fits: no scout's fit
    counts any more."""
    refuted: int = 0
    """The size of the last scout that was wrong."""

    def add(self, wanted: NextProbe, probe: ProbeT) -> None:
        """Add the result of a probe."""
        size = wanted.size
        refuted = size in self.scouted and not wanted.scouting and probe.outcome != "fits"
        if refuted and self.outcome(size) == "fits":
            self.misled, self.refuted = True, size
        elif not wanted.scouting and probe.outcome == "fits" and size >= _CLOSE * self.refuted:
            self.misled = False  # by little: scouts are right but next to the maximum
        self.probes.append((size, probe))
        (self.scouted.add if wanted.scouting else self.scouted.discard)(size)

    @property
    def minimum(self) -> int:
        """The smallest size that may be tried."""
        return self.sizes[0]

    @property
    def maximum(self) -> int:
        """The largest size that may be tried."""
        return self.sizes[-1]

    @property
    def step(self) -> int:
        """The least distance between two sizes, where that is the same everywhere; else 1."""
        return self.sizes.step if isinstance(self.sizes, range) else 1

    @property
    def _latest(self) -> dict[int, ProbeT]:
        """The probe that counts at each size."""
        latest = dict(self.probes)
        if not self.misled:
            return latest
        # What a scout overlooks at one size, such as memory that grows, it overlooks at others.
        return {
            size: probe
            for size, probe in latest.items()
            if size not in self.scouted or probe.outcome != "fits"
        }

    def outcome(self, size: int) -> Outcome | None:
        """Return how the probe at `size` ended, or None if there was none."""
        probe = self._latest.get(size)
        return None if probe is None else probe.outcome

    def failed(self, size: int) -> bool:
        """Return whether `size` was tried and does not fit."""
        return self.outcome(size) not in (None, "fits")

    @property
    def fitting(self) -> list[int]:
        """The sizes that fit, ascending."""
        return sorted(size for size, probe in self._latest.items() if probe.outcome == "fits")

    @property
    def low(self) -> int:
        """The largest size that fits; `minimum - 1` when none does."""
        return max(self.fitting, default=self.minimum - 1)

    @property
    def high(self) -> int | None:
        """The smallest size above `low` that fails; None when none does."""
        low = self.low
        failing = (
            size for size, probe in self._latest.items() if size > low and probe.outcome != "fits"
        )
        return min(failing, default=None)

    @property
    def closed(self) -> bool:
        """Whether nothing is left to try: `low` is the maximum, or the next size fails."""
        first, end = self._between
        return first == end

    @property
    def unconfirmed(self) -> bool:
        """Whether only a scout has shown that `low` fits."""
        return self.low in self.scouted

    @property
    def doubtful(self) -> bool:
        """Whether several sizes ran out of memory above a `low` that only a scout has tried."""
        if not self.unconfirmed:
            return False
        low = self.low
        ran_out = [
            size for size, probe in self._latest.items() if size > low and probe.outcome == "oom"
        ]
        return len(ran_out) >= _DOUBTFUL

    @property
    def last_resort(self) -> int | None:
        """The size that deserves the last probe; None if it may go where the mode leads.

        It makes an answer of what only scouts have seen: of the largest fit, or of the smallest
        once one was refuted.
        """
        if self.unconfirmed:
            return self.low
        if self.fitting or not self.scouted:
            return None
        size = min(self.scouted)
        return None if self.high is not None and size >= self.high else size

    @property
    def middle(self) -> int:
        """The size half-way between `low` and a known `high`, by their number."""
        assert self.high is not None
        first, end = self._between
        return self.sizes[(first - 1 + end) // 2]

    def clip(self, size: int) -> int:
        """Return the size above `low` and below `high` that is the next one down from `size`."""
        first, end = self._between
        return self.sizes[max(first, min(bisect_right(self.sizes, size), end) - 1)]

    def at_most(self, size: int) -> int:
        """Return the largest size that is not above `size`, and at least the minimum."""
        return self.sizes[max(0, bisect_right(self.sizes, size) - 1)]

    def above(self, size: int) -> int | None:
        """Return the next size above `size`; None above the maximum."""
        at = bisect_right(self.sizes, size)
        return self.sizes[at] if at < len(self.sizes) else None

    @property
    def _between(self) -> tuple[int, int]:
        """The positions of the sizes between `low` and `high`: the first, and the one behind."""
        high = self.high
        end = len(self.sizes) if high is None else bisect_left(self.sizes, high)
        return bisect_right(self.sizes, self.low), end

    @property
    def peaks(self) -> list[tuple[int, int]]:
        """The sizes that fit and their peaks in bytes, ascending; empty without a memory limit."""
        if self.limit_bytes is None:
            return []
        return sorted(
            (size, probe.peak_memory_bytes)
            for size, probe in self._latest.items()
            if probe.outcome == "fits" and probe.peak_memory_bytes
        )

    @property
    def comparable(self) -> bool:
        """Whether both the peak at `low` and a memory limit are known."""
        return any(size == self.low for size, _ in self.peaks)

    def extrapolate(self) -> Extrapolation | None:
        """Extend the line through two peaks to the memory limit.

        The peaks are that at `low` and that at the nearest size below it that is far enough away.
        Returns None if there are no two such peaks. A line that hardly rises beyond noise predicts
        infinity.
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
            return Extrapolation(math.inf, math.inf, math.inf, math.inf, straight=True)
        slope = rise / run
        return Extrapolation(
            size=low + room / slope,
            margin=room / slope * tolerance / (rise + tolerance),
            reach=room / rise,
            noise=NOISE * limit / slope,
            straight=all(
                abs(top - slope * (low - size) - peak) <= NOISE * top
                for size, peak in distinct[-2:]
            ),
        )
