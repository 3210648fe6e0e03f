"""Searches for the largest batch size, with any function that probes one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal

from harness.errors import HarnessError
from harness.search.bracket import Bracket, NextProbe, ProbeResult, ProbeT
from harness.search.modes import binsearch, exact, power

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.measurement import BoundedBy
    from harness.search.estimates import Estimator

__all__ = ["Mode", "ProbeResult", "SearchResult", "search"]

Mode = Literal["exact", "power", "binsearch"]


@dataclass(frozen=True)
class SearchResult(Generic[ProbeT]):
    """The result of a search; batch sizes are in samples."""

    max_batch_size: int
    """The largest size that was probed and fits; 0 when none does."""
    bounded_by: BoundedBy
    """The reason why it is not larger."""
    probes: tuple[tuple[int, ProbeT], ...]
    """Every size that was tried, with the result of its probe or scout, in order."""
    exact: bool
    """Whether `max_batch_size` fits and the next size was seen to fail."""
    non_monotone: int | None = None
    """A size above `max_batch_size` that fits although a size between the two fails."""


def search(
    probe: Callable[[int], ProbeT],
    *,
    scout: Callable[[int], ProbeT] | None = None,
    mode: Mode = "exact",
    memory_limit_bytes: int | None = None,
    min_batch_size: int = 1,
    max_batch_size: int = 65536,
    init_val: int = 2,
    max_trials: int = 25,
    locked: int | None = None,
    aim: int | None = None,
    estimator: Estimator | None = None,
    step: int = 1,
    sizes: Sequence[int] | None = None,
    known: Mapping[int, ProbeT] | None = None,
) -> SearchResult[ProbeT]:
    """Find the largest batch size from `min_batch_size` to `max_batch_size` that fits.

    `probe(batch_size)` returns a `ProbeResult`: an object with the attributes `outcome` ("fits",
    "oom", "error" or "dataset") and `peak_memory_bytes` (an int or None). It is called at most once
    per size. Its exceptions pass through.

    scout: a cheaper `probe`, which may report a fit for a size that does not fit. `exact` calls it,
        at most once per size, for sizes that only show where to go on. The result rests only on
        `probe`.
    mode: `exact` predicts the maximum from the peaks and `memory_limit_bytes`, and brackets it: the
        result fits and the next size does not. `power` doubles from `init_val` and ends on the last
        size that fits. `binsearch` doubles and then bisects. The latter two are Lightning's modes.
    max_trials: the limit of calls of `probe` and `scout` together, in every mode.
    locked: the maximum of an earlier search, clipped to the range. `exact` begins with it and ends
        after two probes if nothing has changed. The other modes ignore it.
    aim: a predicted maximum. `exact` begins with it when nothing is locked.
    estimator: takes a size that fits and one that is too large, and returns the maximum by the
        allocations of the former, or None. It spares `exact` most of its probes on CUDA.
    step: only multiples of it are tried. The result is the largest multiple that fits, and the
        next multiple does not.
    sizes: only these are tried, ascending, whatever minimum, maximum and step are.
    known: probes of another search that fit here, too, by size. They count as scouts that have run:
        they show where to go on, and cost no trial.

    Raises HarnessError when the settings leave nothing to search.
    """
    if not 1 <= min_batch_size <= max_batch_size:
        raise HarnessError(
            f"search: min_batch_size={min_batch_size} and max_batch_size={max_batch_size}"
            " leave nothing to search; allowed: 1 <= min_batch_size <= max_batch_size"
        )
    if init_val < 1 or max_trials < 1 or step < 1:
        raise HarnessError(
            f"search: init_val={init_val}, max_trials={max_trials} and step={step} are not all"
            " positive; allowed: whole numbers from 1"
        )
    if sizes is None:
        sizes = multiples(min_batch_size, max_batch_size, step)
    if not sizes:
        raise HarnessError(
            f"search: no multiple of step={step} lies from min_batch_size={min_batch_size} to"
            f" max_batch_size={max_batch_size}"
        )
    bracket: Bracket[ProbeT] = Bracket(sizes, memory_limit_bytes)
    num_known = _add_known(bracket, known or {})
    for wanted in _next_probes(
        bracket, mode, init_val=init_val, locked=locked, aim=aim, estimator=estimator
    ):
        left = max_trials + num_known - len(bracket.probes)
        if not left:
            return _result(bracket, num_known, exhausted=True)
        now = wanted
        if left == 1 and (size := bracket.last_resort) is not None:
            now = NextProbe(size)
        if scout is None or left == 1:
            now = now._replace(scouting=False)
        attempt = scout if scout is not None and now.scouting else probe
        bracket.add(now, attempt(now.size))
    return _result(bracket, num_known, exhausted=False)


def _add_known(bracket: Bracket[ProbeT], known: Mapping[int, ProbeT]) -> int:
    """Add the probes of another search as scouts; return how many there are."""
    for size, probe in known.items():
        if size in bracket.sizes:
            bracket.add(NextProbe(size, scouting=True), probe)
    return len(bracket.probes)


def multiples(minimum: int, maximum: int, step: int) -> range:
    """Return the multiples of `step` in a range; there may be none."""
    return range(-(-minimum // step) * step, maximum + 1, step)


def _next_probes(
    bracket: Bracket[ProbeT],
    mode: Mode,
    *,
    init_val: int,
    locked: int | None,
    aim: int | None,
    estimator: Estimator | None,
) -> Iterator[NextProbe]:
    """Return the probes of `mode`; each depends on the outcomes of those before it."""
    if mode == "exact":
        return exact(bracket, init_val, locked, aim, estimator)
    if mode == "power":
        return power(bracket, init_val)
    if mode == "binsearch":
        return binsearch(bracket, init_val)
    raise HarnessError(f"search: mode={mode!r} is not one of exact, power, binsearch")


def _result(bracket: Bracket[ProbeT], num_known: int, *, exhausted: bool) -> SearchResult[ProbeT]:
    """Return the result of a search; `exhausted` if the mode would have gone on."""
    fitting = [size for size in bracket.fitting if size not in bracket.scouted]
    edges = [
        size
        for size in fitting
        if (above := bracket.above(size)) is not None and bracket.failed(above)
    ]
    low = max(fitting, default=0)
    # A size whose neighbour fails is a better answer than a larger one with an untried neighbour.
    largest = edges[-1] if exhausted and edges else low
    return SearchResult(
        max_batch_size=largest,
        bounded_by="trials" if exhausted and not edges else _bound(bracket, largest),
        probes=tuple(bracket.probes[num_known:]),
        exact=largest in edges,
        non_monotone=low if low > largest else None,
    )


def _bound(bracket: Bracket[ProbeT], largest: int) -> BoundedBy:
    """Return the reason why `largest` is not larger: the failure of the smallest size above it."""
    if largest == bracket.maximum:
        return "cap"
    first = min(size for size, _ in bracket.probes if size > largest and bracket.failed(size))
    match bracket.outcome(first):
        case "oom":
            return "memory" if largest else "nothing fits"
        case "dataset":
            return "dataset"
        case _:
            return "error"
