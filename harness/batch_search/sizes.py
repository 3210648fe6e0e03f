"""Searches for the largest batch size of an open case, in training or in validation."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.batch_search.multiples import probe_multiples
from harness.global_batch.divisors import divisors, micro_batches
from harness.probes.outcomes import describe_growth, describe_probe
from harness.progress.events import Event, tell, tell_phase
from harness.search.search import SearchResult, multiples, search

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.measurement import BoundedBy, Growth, Probe
    from harness.probes.open_cases import OpenCase
    from harness.search.estimates import Estimator

    TryBatch = Callable[[int], Probe]
    """Probes a batch size."""
    Attempt = Callable[[int, bool], Probe]
    """Probes a batch size, and whole epochs if the second argument is true."""

_log = logging.getLogger("harness")

EPOCH_STEPS = 64
"""A probe of whole epochs takes at most this many optimizer steps, unless more are asked for."""
EPOCH_VALIDATION_STEPS = 256
"""And this many batches of validation, which take less time. What is longer is extrapolated."""
# What an epoch keeps matters from this share of the limit on.
_MATTERS = 0.01


@dataclass(frozen=True)
class FoundBatch:
    """The result of one search."""

    max_batch_size: int
    """0 when nothing fits."""
    bounded_by: BoundedBy
    probes: tuple[Probe, ...]
    """In the order in which they ran."""
    non_monotone: int | None
    """A larger batch that also fits, though a smaller one fails; None if none is known."""
    whole_epochs: bool = False
    """Whether its probes have trained whole epochs, because memory grows."""

    @property
    def best(self) -> Probe | None:
        """The last probe of the largest batch; it is never a scout. None when nothing fits."""
        tried = [probe for probe in self.probes if probe.batch_size == self.max_batch_size]
        return tried[-1] if tried else None


@dataclass(frozen=True)
class Sizes:
    """The batch sizes that a search may try, and where it starts."""

    minimum: int
    maximum: int
    num_samples: int | None
    """A batch is never larger; None where that is unknown."""
    locked: int | None
    aim: int | None = None
    """The predicted largest batch."""
    step: int = 1
    """Multiples of it are tried. If there are none, or if not even the first has the memory, what
    is smaller is tried: a small batch is better than none."""
    total: int | None = None
    """Only its divisors are tried: they make a step of so many samples exactly."""
    share: float = 1.0
    """The limit of the phase that is searched, as a share of training's."""
    phase: str = "search"
    """The name of this search while it goes on."""

    @property
    def cap(self) -> int:
        """The largest size that the settings and the number of samples allow."""
        if self.num_samples is None:
            return self.maximum
        return max(self.minimum, min(self.maximum, self.num_samples))

    @property
    def allowed(self) -> Sequence[int]:
        """The sizes to try, ascending; there is at least one."""
        if self.total is None:
            rounded = multiples(self.minimum, self.cap, self.step)
            return rounded or range(self.minimum, self.cap + 1)
        found = micro_batches(self.total, self.minimum, self.cap, self.step)
        if found:
            return found
        # The data have too few samples for any: the first one shows it.
        return [min(size for size in divisors(self.total) if size >= self.minimum)]

    @property
    def smaller(self) -> Sequence[int]:
        """The sizes below those that are allowed: to try where not even the first has the memory.

        They are no multiples of `step`.
        """
        first = self.allowed[0]
        if self.total is None:
            return range(self.minimum, first)
        return micro_batches(self.total, self.minimum, first - 1)


class _GrowsError(Exception):
    """Ends a search whose probes have found growth: they repeat the data, and see no epoch end."""


def search_batch_sizes(
    opened: OpenCase,
    sizes: Sizes,
    probe: Attempt,
    scout: TryBatch | None = None,
    estimator: Estimator | None = None,
    *,
    known: Sequence[Probe] = (),
) -> FoundBatch:
    """Search for the largest batch that fits, never beyond the number of samples.

    known: probes of another search that fit below this limit, too.

    If a probe finds that memory grows from step to step, the search starts anew with probes of
    whole epochs. Their peaks are those of a whole epoch, so no scout and no estimate helps them.
    """
    tried: list[Probe] = []

    def short(try_batch: TryBatch) -> TryBatch:
        def run(batch_size: int) -> Probe:
            tried.append(try_batch(batch_size))
            growth = tried[-1].growth
            if growth is not None and _matters(opened, sizes, tried[-1], growth):
                raise _GrowsError
            return tried[-1]

        return run

    max_trials = opened.case.search.max_trials
    try:
        return _search(
            opened,
            sizes,
            max_trials,
            short(lambda batch_size: probe(batch_size, False)),
            scout=None if scout is None else short(scout),
            estimator=estimator,
            known=known,
        )
    except _GrowsError:
        growth = tried[-1].growth
        assert growth is not None, "it has ended the search"
        _log.info(
            "%s: %s, so probes run whole epochs from here on",
            opened.case.id,
            describe_growth(growth),
        )
    left = max(1, max_trials - len(tried))
    found = _search(opened, sizes, left, lambda size: probe(size, True))
    return replace(found, probes=(*tried, *found.probes), whole_epochs=True)


def _matters(opened: OpenCase, sizes: Sizes, probe: Probe, growth: Growth) -> bool:
    """Return whether what an epoch keeps is more than a small share of the limit."""
    described, limit = opened.description, opened.runner.memory_limit_bytes
    training = growth.phase == "training"
    samples = described.num_samples if training else described.num_validation_samples
    if growth.phase in ("test", "predict"):
        samples = sizes.num_samples
    if samples is None or limit is None:
        return True
    accumulated = opened.case.accumulation(probe.batch_size) if training else 1
    steps = math.ceil(samples / (probe.batch_size * accumulated))
    return growth.bytes_per_step * steps >= _MATTERS * limit


def _search(
    opened: OpenCase,
    sizes: Sizes,
    max_trials: int,
    probe: TryBatch,
    *,
    scout: TryBatch | None = None,
    estimator: Estimator | None = None,
    known: Sequence[Probe] = (),
) -> FoundBatch:
    settings, whole = opened.case.search, opened.runner.memory_limit_bytes
    limit = None if whole is None else int(sizes.share * whole)

    tell_phase(opened.case.id, sizes.phase)

    def logged(try_batch: TryBatch, *, proves: bool = True) -> TryBatch:
        def run(batch_size: int) -> Probe:
            done = try_batch(batch_size)
            told = describe_probe(done, limit)
            _log.info("%s: %s", opened.case.id, told)
            # A scout that fits proves nothing.
            fits = done.outcome == "fits"
            size = batch_size if proves or not fits else None
            tell(Event(opened.case.id, "probe", told, batch_size=size, fits=fits))
            return done

        return run

    def search_in(allowed: Sequence[int], max_trials: int) -> SearchResult[Probe]:
        return search(
            logged(probe),
            scout=None if scout is None else logged(scout, proves=False),
            mode=settings.mode,
            memory_limit_bytes=limit,
            init_val=settings.init_val,
            max_trials=max_trials,
            locked=sizes.locked,
            aim=sizes.aim,
            estimator=estimator,
            sizes=allowed,
            known={done.batch_size: done for done in known},
        )

    result = search_in(sizes.allowed, max_trials)
    probes = [done for _, done in result.probes]
    left = max_trials - len(probes)
    if result.bounded_by == "nothing fits" and sizes.smaller and left:
        result = search_in(sizes.smaller, left)
        probes += [done for _, done in result.probes]
        if result.bounded_by == "cap":
            result = replace(result, bounded_by="memory")  # the first multiple has failed
    if not result.max_batch_size and probes and sizes.total is None and all(map(_raised, probes)):
        failed = {done.batch_size for done in probes}
        probes += probe_multiples(logged(probe), failed, sizes.cap)
    by_data = result.bounded_by == "cap" and sizes.cap < sizes.maximum
    return FoundBatch(
        max_batch_size=result.max_batch_size,
        bounded_by="dataset" if by_data else result.bounded_by,
        probes=tuple(probes),
        non_monotone=result.non_monotone,
    )


def _raised(probe: Probe) -> bool:
    """Return whether a probe ended in the workload's own exception: no crash, and no time-out."""
    return probe.outcome == "error" and probe.traceback is not None
