"""Finds the learning rate of a workload, and the range in which training is as good. Pure.

A coarse exponential sweep finds the decade (Smith, "Cyclical Learning Rates for Training Neural
Networks", WACV 2017). Then trials train for a fixed horizon at one constant rate each, seed after
seed, until the seeds agree. So the result is of that horizon: it depends neither on the number of
steps that a sweep has, nor on where the search starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.lr_range import no_rate
from harness.lr_range.found import Found, Result
from harness.lr_range.ratio import outside
from harness.lr_range.search import OutOfStepsError, TrialSearch
from harness.lr_range.suggestion import geometric_sweep, suggest
from harness.lr_range.trials import Trials, rate_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lr_range.trials import RateRange

# Seeds within this factor of each other agree: no further one is tried.
_AGREEMENT = 1.05
# One seed within this factor of the locked rate confirms it.
CONFIRMED = 1.25
# Seeds further apart than this are tried for longer, while there are steps; even further apart they
# say nothing together.
_FAR_APART = 2.0
MAX_SEED_RATIO = 4.0

_SWEEP_STEPS_PER_DECADE = 8
_MIN_SWEEP_STEPS = 10
# The sweep takes at most this share of all steps, and the trials of a seed some four horizons.
_SWEEP_SHARE = 4
_HORIZONS = 7
_MIN_HORIZON = 5
# Horizons that are tried, as multiples of the one that is asked for.
_LONGER = (1, 2, 4)


class NoLossesError(Exception):
    """A training gave no losses that can be used; the message is the reason."""


class OutOfTimeError(NoLossesError):
    """The time for the range test is over."""


class Trainings(Protocol):
    """Trains a fresh module, one optimizer step per learning rate. Raises NoLossesError."""

    def sweep(self, seed: int, learning_rates: Sequence[float]) -> Sequence[float]:
        """Return the raw loss of each step; fewer once `diverged` says so."""

    def trial(
        self, seed: int, learning_rate: float, num_steps: int, ceiling: float | None
    ) -> Sequence[float]:
        """Return the raw loss of each step at one rate; fewer once `can_stop` says so."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far and how long a range test goes."""

    lr_min: float
    lr_max: float
    horizon: int
    """Optimizer steps of a trial."""
    max_steps: int
    """Optimizer steps in all: those of the sweep and of every trial, at every horizon."""

    @property
    def shortest(self) -> int:
        """The horizon to begin with: the one asked for, or what the steps of all seeds allow."""
        return min(self.horizon, self.max_steps // _HORIZONS)


@dataclass(frozen=True, slots=True)
class _Horizon:
    """What a horizon said that was not long enough."""

    steps: int
    trials: dict[int, Trials]
    ranges: dict[int, RateRange]
    refusal: str | None
    disagree: bool = field(kw_only=True)
    near: bool = field(kw_only=True)
    """Whether its seeds are near enough to be taken, where a longer horizon cannot do better."""


@dataclass
class LearningRateSearch:
    """The range test of one workload at one batch size.

    locked_rate: the search starts there in place of a sweep. The horizon is then the locked one:
    it is long enough while the loss falls.
    confirmed_by: a first seed near one of these rates needs no other: the locked one, and what the
    same seed has suggested then.
    all_seeds: no seed is left out because those before it agree.
    """

    trainings: Trainings
    limits: Limits
    locked_rate: float | None = None
    confirmed_by: Sequence[float] = ()
    all_seeds: bool = False
    _horizon: int = 0
    _granted: int = 0
    _spent: int = 0
    _learning_rates: tuple[float, ...] = ()
    _losses: tuple[float, ...] = ()
    _trials: dict[int, Trials] = field(default_factory=dict)
    _ranges: dict[int, RateRange] = field(default_factory=dict)

    def start_from(self, learning_rates: Sequence[float], losses: Sequence[float]) -> None:
        """Begin the trials where a sweep tells that was done already, in place of a coarse one."""
        self._learning_rates, self._losses = tuple(learning_rates), tuple(losses)

    def run(self, seeds: Sequence[int]) -> Result:
        """Try seeds until they agree; where a horizon is too short for that, try longer ones."""
        limits = self.limits
        shortest = limits.shortest
        self._granted = limits.max_steps
        if shortest < _MIN_HORIZON:
            needed = _HORIZONS * _MIN_HORIZON
            return self._result(no_rate.too_few_steps(limits.max_steps, needed))
        refusal, disagree = self._tried(seeds)
        return self._result(refusal, disagreement=disagree)

    def _tried(self, seeds: Sequence[int]) -> tuple[str | None, bool]:
        """Try ever longer horizons; return a refusal, if any, and whether it is a disagreement."""
        horizons: list[int] = []
        refusal: str | None = None
        disagree = False
        earlier: _Horizon | None = None
        for longer in _LONGER:
            self._horizon, self._trials, self._ranges = longer * self.limits.shortest, {}, {}
            horizons.append(self._horizon)
            try:
                refusal, too_short = self._explored(seeds, until_agreed=not self.all_seeds)
            except OutOfStepsError:
                return self._out_of_steps(earlier)
            # Where a rate is locked, seeds apart bring further seeds, and no other horizon.
            is_last = longer == _LONGER[-1] or self.locked_rate is not None
            furthest = MAX_SEED_RATIO if is_last else _FAR_APART
            disagree = refusal is None and too_short is None and self._apart(furthest)
            if too_short is not None and refusal is None:
                refusal = no_rate.too_short(too_short, horizons)
            elif disagree:
                refusal = no_rate.disagreement(self._rates(), self._horizon, MAX_SEED_RATIO)
                if is_last:
                    break
            elif self._is_alone(seeds):
                return self._one_seed(earlier), False
            else:
                break
            near = disagree and not self._apart(MAX_SEED_RATIO)
            earlier = _Horizon(
                self._horizon, self._trials, self._ranges, refusal, disagree=disagree, near=near
            )
        return refusal, disagree

    def _back_to(self, earlier: _Horizon) -> None:
        self._horizon = earlier.steps
        self._trials, self._ranges = earlier.trials, earlier.ranges

    def _out_of_steps(self, earlier: _Horizon | None) -> tuple[str | None, bool]:
        """Take what a shorter horizon said, where the steps end before a range is known."""
        max_steps = self.limits.max_steps
        if earlier is None or earlier.refusal is None:
            trials = next(iter(self._trials.values()), None)
            return (None if trials is None else no_rate.out_of_steps(trials, max_steps)), False
        self._back_to(earlier)
        if earlier.near:
            return None, False
        return no_rate.and_out_of_steps(earlier.refusal, max_steps), earlier.disagree

    def _one_seed(self, earlier: _Horizon | None) -> str | None:
        """Take what several seeds said at a shorter horizon; return the reason where they don't."""
        if earlier is not None and earlier.near:
            self._back_to(earlier)
            return None
        limits = self.limits
        return no_rate.one_seed(limits.shortest, self._horizon, limits.max_steps)

    def _is_alone(self, seeds: Sequence[int]) -> bool:
        """Return whether one of several seeds speaks, at a longer horizon than was asked for.

        There the training rests on a plateau first, which every seed leaves at a time of its own.
        """
        longer = self.locked_rate is None and self._horizon > self.limits.shortest
        return longer and len(self._ranges) == 1 < len(seeds)

    def more(self, seeds: Sequence[int]) -> Result:
        """Try each of further seeds for the same horizon, for as many steps, and judge by all."""
        self._granted = self._spent + self.limits.max_steps
        refusal, too_short = self._explored(seeds, until_agreed=False)
        if refusal is None and too_short is not None:
            refusal = no_rate.too_short(too_short, (self._horizon,))
        return self._result(refusal)

    def _explored(
        self, seeds: Sequence[int], *, until_agreed: bool = True
    ) -> tuple[str | None, Trials | None]:
        """Try seeds; return a refusal, or the trials for which the horizon is too short, if any.

        Raises OutOfStepsError where the steps end before the range of a first seed is known.
        """
        try:
            refusal = self._explore(seeds, until_agreed=until_agreed)
        except NoLossesError as error:
            refusal = str(error)
        self._trials = {seed: one for seed, one in self._trials.items() if one.losses}
        return refusal, next(filter(self._too_short, self._trials.values()), None)

    def _too_short(self, trials: Trials) -> bool:
        """Return whether the horizon is too short for a seed."""
        if self.locked_rate is not None and self._horizon == self.limits.shortest:
            return not trials.has_signal
        return trials.too_short

    def _explore(self, seeds: Sequence[int], *, until_agreed: bool) -> str | None:
        """Try seeds; return the reason if the first gives no range, though its loss fell."""
        limits = self.limits
        search = TrialSearch(
            self.trainings.trial,
            self._horizon,
            limits.lr_min,
            limits.lr_max,
            self._granted,
            self._spent,
            self._trials,
        )
        try:
            start = self._start(seeds[0], search)
            for seed in seeds:
                trials = search.explore(seed, start)
                if self._too_short(trials):
                    break
                refusal = self._open_end(search, seed, trials)
                if refusal is not None:
                    return refusal
                self._ranges[seed], start = trials.range(), trials.telling()
                if until_agreed and self._agreed():
                    break
        except (OutOfStepsError, OutOfTimeError) as error:
            self._broken_off(error)
        finally:
            self._spent = search.steps
        return None

    def _broken_off(self, error: OutOfStepsError | OutOfTimeError) -> None:
        """Leave an unfinished seed out; raise the error where that leaves none."""
        seed = next(reversed(self._trials), None)
        if seed is not None and seed not in self._ranges:
            trials = self._trials[seed]
            if trials.losses and trials.is_closed:
                self._ranges[seed] = trials.range()
            elif self._ranges:
                del self._trials[seed]
        if not self._ranges:
            raise error

    def _start(self, seed: int, search: TrialSearch) -> float | list[int]:
        """Return where the trials of the first seed start; sweep where nothing else tells it."""
        if self._ranges:
            return next(reversed(self._trials.values())).telling()
        if self.locked_rate is not None:
            return self.locked_rate
        limits = self.limits
        if not self._losses:
            decades = math.log10(limits.lr_max / limits.lr_min)
            steps = max(_MIN_SWEEP_STEPS, 1 + round(_SWEEP_STEPS_PER_DECADE * decades))
            steps = min(steps, limits.max_steps // _SWEEP_SHARE)
            self._learning_rates = geometric_sweep(limits.lr_min, limits.lr_max, steps)
            self._losses = tuple(self.trainings.sweep(seed, self._learning_rates))
            search.steps += len(self._losses)
        found = suggest(self._learning_rates, [self._losses])
        if found.per_seed[0] is not None:
            return found.per_seed[0]
        return math.sqrt(limits.lr_min * limits.lr_max)

    def _open_end(self, search: TrialSearch, seed: int, trials: Trials) -> str | None:
        """Return the reason where a seed's range has no end in the range of the test."""
        limits = self.limits
        low, high = trials.usable()
        if low == trials.control:
            return no_rate.open_below(trials, limits.lr_min)
        if high < search.highest:
            return None
        # One decade more is cheap, and tells what to set.
        beyond = TrialSearch(
            self.trainings.trial,
            self._horizon,
            limits.lr_min,
            10 * limits.lr_max,
            self._granted,
            search.steps,
            {seed: trials},
        )
        try:
            beyond.explore(seed, rate_at(trials.best))
            known = trials.usable()[1] < beyond.highest
        except OutOfStepsError:
            known = False
        search.steps = beyond.steps
        tried = (10 * limits.lr_max, rate_at(trials.range().middle)) if known else None
        return no_rate.open_above(trials, limits.lr_max, tried)

    def _rates(self) -> list[float]:
        """Return the rate of each seed."""
        return [rate_at(one.middle) for one in self._ranges.values()]

    def _apart(self, factor: float) -> bool:
        """Return whether two seeds are further apart than a factor."""
        rates = self._rates()
        return bool(rates) and outside(max(rates), min(rates), factor)

    def _agreed(self) -> bool:
        rates = self._rates()
        if len(rates) == 1:
            return any(not outside(rates[0], locked, CONFIRMED) for locked in self.confirmed_by)
        return not self._apart(_AGREEMENT)

    def _result(self, refusal: str | None, *, disagreement: bool = False) -> Result:
        return Result(
            found=Found.of(list(self._ranges.values())) if refusal is None else None,
            refusal=refusal,
            horizon=self._horizon,
            steps=self._spent,
            trials=self._trials,
            learning_rates=self._learning_rates,
            losses=self._losses,
            disagreement=disagreement,
        )
