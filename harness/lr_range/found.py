"""Holds what a range test has found and seen: a learning rate with its range, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from harness.lr_range.trials import rate_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lr_range.trials import RateRange, Trials

# The range reaches at least and at most so far from the suggestion, to each side. Nearer lies what
# suggestions differ by chance. Further, a rate that really moved by x3 would go unseen.
_NARROWEST = 1.5
_WIDEST = 2.2


@dataclass(frozen=True, slots=True)
class Found:
    """A learning rate and its range, of the optimizer's largest group that follows the workload."""

    learning_rate: float
    """The mean of `per_seed` in log space."""
    lowest: float
    highest: float
    per_seed: tuple[float, ...]

    @classmethod
    def of(cls, ranges: Sequence[RateRange]) -> Found:
        """Join what the trials of the seeds say."""
        middle = fmean(one.middle for one in ranges)
        per_seed = tuple(rate_at(one.middle) for one in ranges)
        rate = rate_at(middle)
        lowest = rate_at(fmean(one.lowest for one in ranges))
        highest = rate_at(fmean(one.highest for one in ranges))
        return cls(
            rate,
            min(max(lowest, rate / _WIDEST), rate / _NARROWEST, *per_seed),
            max(min(highest, rate * _WIDEST), rate * _NARROWEST, *per_seed),
            per_seed,
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What a range test found and saw: a learning rate or a refusal, never both."""

    found: Found | None
    refusal: str | None
    horizon: int
    """Steps of a trial: those asked for; fewer where all steps are few, more where they must be."""
    steps: int
    trials: dict[int, Trials]
    """By seed."""
    learning_rates: tuple[float, ...] = ()
    """The rates of the sweep; none where the search began at a locked rate."""
    losses: tuple[float, ...] = ()
    """The losses of the sweep."""
    disagreement: bool = False
    """Whether the seeds' distance alone is the reason: more seeds may help."""

    @property
    def signal_to_noise(self) -> float | None:
        """The drop of the best trial over its noise, the lowest of all seeds; None without any."""
        return min((one.signal_to_noise for one in self.trials.values()), default=None)
