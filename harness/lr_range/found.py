"""Holds what a range test has found and seen: a learning rate with its range, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """The mean of `per_seed` in log space; where sweeps decide, their median."""
    lowest: float
    highest: float
    per_seed: tuple[float, ...]
    has_range: bool = True
    """Whether trials measured a range; without it, both ends are the rate itself."""

    @classmethod
    def of(cls, ranges: Sequence[RateRange]) -> Found:
        """Join what the trials of the seeds say."""
        middle = fmean(one.middle for one in ranges)
        per_seed = tuple(rate_at(one.middle) for one in ranges)
        return cls.around(rate_at(middle), ranges, per_seed)

    @classmethod
    def around(cls, rate: float, ranges: Sequence[RateRange], per_seed: tuple[float, ...]) -> Found:
        """Return a rate with the range that trials say, which holds what each seed suggests."""
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
    """The losses of the sweep, that of the first seed where there are several."""
    disagreement: bool = False
    """Whether the seeds' distance alone is the reason: more seeds may help."""
    further_sweeps: tuple[tuple[float, ...], ...] = ()
    """The losses of further seeds' sweeps, where a strategy reads sweeps."""
    remark: str | None = None
    """A doubt about a rate that was found."""
    suggestions: dict[str, float | None] = field(default_factory=dict)
    """The rate of each strategy that reads these sweeps; None: it refuses."""

    @property
    def signal_to_noise(self) -> float | None:
        """The drop of the best trial over its noise, the lowest of all seeds; None without any."""
        return min((one.signal_to_noise for one in self.trials.values()), default=None)
