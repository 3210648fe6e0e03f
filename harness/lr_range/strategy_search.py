"""Finds a learning rate by a strategy that reads sweeps, and what trials say of it. Pure.

A strategy reads one rate off each seed's sweep, and the median over the seeds in log space is the
suggestion. Trials of the first seed then measure the range around it, and refuse a rate that is too
high, or at which nothing is learned. Strategies behind the first decide nothing: they are drawn.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from harness.lr_range import no_rate
from harness.lr_range.find import CONFIRMED, MAX_SEED_RATIO, NoLossesError, OutOfTimeError
from harness.lr_range.found import Found, Result
from harness.lr_range.ratio import log_median, outside
from harness.lr_range.strategies import PUBLISHED
from harness.lr_range.suggestion import no_signal, suggest
from harness.lr_range.trials import USABLE, point_of, rate_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.lr_range.find import LearningRateSearch
    from harness.lr_range.trials import Trials

    Reading = float | str
    """A learning rate, or the reason why a strategy gives none."""

DROP = "drop"
"""The default rule: the middle of trials, or 75% of the drop where there is a sweep alone."""

# A rate below the middle of the usable ones may lack so much of the best drop: it only learns more
# slowly. Above the middle, what is lost is lost for good. In `benchmarks/lr_rule.py` all rates that
# lack more than 30% there have a regret of at least .10 after 200 steps, and the median is .79; of
# those that lack 30% to 90% below it, the highest is .15 and the median .03.
_BEGUN = 0.9


class WholeSweeps(Protocol):
    """Trains a fresh module, one optimizer step per learning rate. Raises NoLossesError."""

    def whole_sweep(self, seed: int, learning_rates: Sequence[float]) -> Sequence[float]:
        """Return the raw loss of each step; fewer only where one is not finite."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A rule that reads one learning rate off each sweep."""

    name: str
    read: Callable[[Sequence[float], Sequence[Sequence[float]]], Sequence[Reading]]
    """Learning rates, and the losses of each sweep -> a reading of each."""
    asks_for_signal: bool = True
    """Whether a sweep without a trial must show a clear drop; a user's rule judges that itself."""


def strategy_of(name: str) -> Strategy:
    """Return the strategy that a matrix calls `name`."""
    if name == DROP:
        return Strategy(name, lambda rates, sweeps: [_drop(rates, one) for one in sweeps])
    rule = PUBLISHED[name]

    def read(rates: Sequence[float], sweeps: Sequence[Sequence[float]]) -> list[Reading]:
        found = (rule(rates, one) for one in sweeps)
        return ["its losses end too early" if rate is None else rate for rate in found]

    return Strategy(name, read)


def _drop(learning_rates: Sequence[float], losses: Sequence[float]) -> Reading:
    """Read off 75% of the drop."""
    found = suggest(learning_rates, [losses])
    return found.refusal or found.learning_rate or 0.0


@dataclass
class StrategySearch:
    """The range test of one workload at one batch size, where sweeps decide or are drawn.

    trials: measures the range; None where a sweep is all.
    decided_by_trials: what the first strategy says is the middle of the trials.
    confirmed_by: a first seed near one of these rates needs no other.
    """

    trainings: WholeSweeps
    learning_rates: tuple[float, ...]
    strategies: Sequence[Strategy]
    trials: LearningRateSearch | None
    decided_by_trials: bool = False
    confirmed_by: Sequence[float] = ()
    _sweeps: dict[int, tuple[float, ...]] = field(default_factory=dict)
    _readings: dict[str, dict[int, Reading]] = field(default_factory=dict)
    _tried: Result | None = None
    _steps: int = 0

    @property
    def locked_rate(self) -> float | None:
        """The locked rate that one seed can confirm; None without one."""
        return next(iter(self.confirmed_by), None)

    def run(self, seeds: Sequence[int]) -> Result:
        """Sweep with the seeds, with the first alone where it confirms the lock, and decide."""
        refusal = self._sweep(seeds[:1] if self.decided_by_trials else seeds)
        if refusal is None and not self.decided_by_trials:
            # Trials cannot turn it.
            refusal = self._no_reading()
        if refusal is not None:
            return self._result(None, refusal)
        if self.trials is not None:
            self.trials.start_from(self.learning_rates, self._sweeps[seeds[0]])
            self._tried = self.trials.run(seeds if self.decided_by_trials else seeds[:1])
        return self._decided(may_disagree=True)

    def more(self, seeds: Sequence[int]) -> Result:
        """Try each of further seeds, and decide by all."""
        if self.decided_by_trials:
            assert self.trials is not None, "trials decide"
            self._tried = self.trials.more(seeds)
            return self._decided()
        refusal = self._sweep(seeds, until_confirmed=False)
        return self._decided() if refusal is None else self._result(None, refusal)

    def _sweep(self, seeds: Sequence[int], *, until_confirmed: bool = True) -> str | None:
        """Sweep with the seeds; return the reason why there is no sweep, if any."""
        for seed in seeds:
            try:
                losses = tuple(self.trainings.whole_sweep(seed, self.learning_rates))
            except NoLossesError as error:
                ended = isinstance(error, OutOfTimeError) and bool(self._sweeps)
                return None if ended else str(error)
            self._sweeps[seed] = losses
            self._steps += len(losses)
            if until_confirmed and self._is_enough(seed):
                break
        return None

    def _is_enough(self, seed: int) -> bool:
        """Return whether the sweep of a seed confirms the lock, or gives nothing."""
        if self.decided_by_trials:
            return False
        reading = self._read(self.strategies[0])[seed]
        return isinstance(reading, str) or any(
            not outside(reading, locked, CONFIRMED) for locked in self.confirmed_by
        )

    def _no_reading(self) -> str | None:
        """Return the reason why the deciding strategy gives nothing for a sweep, if any."""
        strategy = self.strategies[0]
        for seed, reading in self._read(strategy).items():
            if isinstance(reading, str):
                return no_rate.no_reading(strategy.name, seed, reading)
        return None

    def _read(self, strategy: Strategy) -> dict[int, Reading]:
        """Return what a strategy reads off each sweep; each is read once."""
        known = self._readings.setdefault(strategy.name, {})
        unread = [seed for seed in self._sweeps if seed not in known]
        if unread:
            readings = strategy.read(self.learning_rates, [self._sweeps[seed] for seed in unread])
            known.update(zip(unread, map(self._checked, readings), strict=True))
        return known

    def _checked(self, reading: Reading) -> Reading:
        """Return a reading, or the reason where it is no learning rate of the sweep."""
        if isinstance(reading, str):
            return reading
        if not 0 < reading < math.inf:
            return no_rate.no_positive_number(reading)
        lowest, highest = self.learning_rates[0], self.learning_rates[-1]
        if outside(reading, min(max(reading, lowest), highest), 1):
            return no_rate.outside_of_sweep(reading, lowest, highest)
        return reading

    def _decided(self, *, may_disagree: bool = False) -> Result:
        if self.decided_by_trials:
            assert self._tried is not None, "trials decide"
            return self._result(self._tried.found, self._tried.refusal, self._tried.disagreement)
        strategy = self.strategies[0]
        refusal: str | None = None
        if self.trials is None and strategy.asks_for_signal:
            refusal = no_signal(self.learning_rates, list(self._sweeps.values()))
        refusal = refusal or self._no_reading()
        if refusal is not None:
            return self._result(None, refusal)
        readings = self._read(strategy).values()
        rates = tuple(rate for rate in readings if isinstance(rate, float))
        if may_disagree and outside(max(rates), min(rates), MAX_SEED_RATIO):
            refusal = no_rate.disagreement_of_sweeps(strategy.name, rates, MAX_SEED_RATIO)
            return self._result(None, refusal, disagreement=True)
        return self._with_range(strategy, log_median(rates), rates)

    def _with_range(self, strategy: Strategy, rate: float, rates: tuple[float, ...]) -> Result:
        """Return a rate with the range that trials say, or why they contradict it."""
        tried = self._tried
        if tried is None:
            return self._result(Found(rate, rate, rate, rates, has_range=False), None)
        if tried.found is None:
            return self._result(None, tried.refusal)
        ((seed, trials),) = tried.trials.items()
        place = point_of(rate)
        self._try_below(seed, trials, place, tried)
        lost = trials.lost_at(place)
        limit = USABLE if place > trials.range().middle else _BEGUN
        if lost > limit:
            return self._result(None, no_rate.not_usable(strategy.name, rate, lost, limit, trials))
        result = self._result(Found.around(rate, [trials.range_around(place)], rates), None)
        if lost <= USABLE:
            return result
        return replace(result, remark=no_rate.slower(strategy.name, rate, lost, trials))

    def _try_below(self, seed: int, trials: Trials, place: float, tried: Result) -> None:
        """Try the next rate below a place that lies under all that was tried, if steps allow it."""
        search, point = self.trials, max(math.floor(place), trials.control)
        assert search is not None, "there are trials"
        if point >= min(trials.losses) or tried.steps + tried.horizon > search.limits.max_steps:
            return
        with suppress(NoLossesError):
            losses = search.trainings.trial(seed, rate_at(point), tried.horizon, None)
            trials.losses[point] = tuple(losses)
            self._steps += len(losses)

    def _result(
        self,
        found: Found | None,
        refusal: str | None,
        disagreement: bool = False,  # noqa: FBT001, FBT002 - the last of what a result says
    ) -> Result:
        first, *further = self._sweeps.values() or [()]
        tried = self._tried or Result(None, None, 0, 0, {})
        return replace(
            tried,
            found=found,
            refusal=refusal,
            disagreement=disagreement,
            steps=tried.steps + self._steps,
            learning_rates=self.learning_rates,
            losses=first,
            further_sweeps=tuple(further),
            suggestions={one.name: self._suggested(one, found) for one in self.strategies},
        )

    def _suggested(self, strategy: Strategy, found: Found | None) -> float | None:
        """Return the rate of a strategy, whether it decides or is only drawn."""
        if strategy is self.strategies[0] and (self.decided_by_trials or found is not None):
            return None if found is None else found.learning_rate
        readings = self._read(strategy).values()
        rates = [one for one in readings if isinstance(one, float)]
        return log_median(rates) if rates and len(rates) == len(readings) else None
