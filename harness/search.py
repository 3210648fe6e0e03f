"""The search for the largest batch size, over any function that tries one. Pure: no torch, no pytest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal

from harness.bracket import Attempt, Bracket, Trial, TrialT
from harness.errors import HarnessError
from harness.search_modes import binsearch, exact, power

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.measurement import BoundedBy

__all__ = ["Mode", "SearchResult", "Trial", "search"]

Mode = Literal["exact", "power", "binsearch"]


@dataclass(frozen=True)
class SearchResult(Generic[TrialT]):
    """What a search found; batch sizes are in samples."""

    max_batch_size: int
    """The largest size that was run and fits; 0 when none did."""
    bounded_by: BoundedBy
    """What kept it from being larger."""
    trials: tuple[tuple[int, TrialT], ...]
    """Every size that was tried and what the probe or scout returned, in the order of running."""
    exact: bool
    """`max_batch_size` fits and the next size was seen to fail."""
    non_monotone: int | None = None
    """A size larger than `max_batch_size` that is known to fit, when a smaller one fails in between."""


def search(
    probe: Callable[[int], TrialT],
    *,
    scout: Callable[[int], TrialT] | None = None,
    mode: Mode = "exact",
    memory_limit_bytes: int | None = None,
    min_batch_size: int = 1,
    max_batch_size: int = 65536,
    init_val: int = 2,
    max_trials: int = 25,
    locked: int | None = None,
    aim: int | None = None,
) -> SearchResult[TrialT]:
    """Find the largest batch size in [`min_batch_size`, `max_batch_size`] for which `probe` reports a fit.

    `probe(batch_size)` returns an object with the attributes `outcome` ("fits", "oom", "error" or "dataset")
    and `peak_memory_bytes` (an int or None), as `Trial` has them. It is called once per size at most, and what
    it raises passes through.

    scout: a cheaper `probe`, which may overlook that a size does not fit. `exact` calls it, once per size at most,
        where the maximum is not expected yet; what the result says fits is what `probe` said.
    mode: `exact` predicts the maximum from the peaks and `memory_limit_bytes`, and brackets it: the result
        fits and the next size does not. `power` doubles from `init_val` and ends on the last size that fits;
        `binsearch` doubles and then bisects: Lightning's modes of these names.
    max_trials: the most calls of `probe` and `scout`, in every mode.
    locked: the maximum that was found before; `exact` begins there and, if nothing changed, ends after two
        trials. Clipped to the range; the other modes ignore it.
    aim: a predicted maximum that `exact` begins with when nothing is locked.

    Raises HarnessError for settings that leave nothing to search.
    """
    if not 1 <= min_batch_size <= max_batch_size:
        raise HarnessError(
            f"search: min_batch_size={min_batch_size} and max_batch_size={max_batch_size} leave nothing to "
            "search; allowed: 1 <= min_batch_size <= max_batch_size"
        )
    if init_val < 1 or max_trials < 1:
        raise HarnessError(
            f"search: init_val={init_val} and max_trials={max_trials}: allowed are whole numbers from 1"
        )
    bracket: Bracket[TrialT] = Bracket(min_batch_size, max_batch_size, memory_limit_bytes)
    for attempt in _attempts(bracket, mode, init_val, locked, aim):
        left = max_trials - len(bracket.trials)
        if not left:
            return _result(bracket, exhausted=True)
        now = attempt
        if left == 1 and bracket.unconfirmed:
            now = Attempt(bracket.low)  # something that surely fits is the best that one more trial can give
        if scout is None or left == 1:
            now = now._replace(scouting=False)
        bracket.add(now, scout(now.size) if scout is not None and now.scouting else probe(now.size))
    return _result(bracket, exhausted=False)


def _attempts(
    bracket: Bracket[TrialT], mode: Mode, init_val: int, locked: int | None, aim: int | None
) -> Iterator[Attempt]:
    """Return what `mode` tries; each attempt depends on the outcomes so far."""
    if mode == "exact":
        return exact(bracket, init_val, locked, aim)
    if mode == "power":
        return power(bracket, init_val)
    if mode == "binsearch":
        return binsearch(bracket, init_val)
    raise HarnessError(f"search: mode={mode!r} is not one of exact, power, binsearch")


def _result(bracket: Bracket[TrialT], *, exhausted: bool) -> SearchResult[TrialT]:
    """Say what the trials show; `exhausted`: the mode would have tried more of them."""
    fitting = [size for size in bracket.fitting if size not in bracket.scouted]
    edges = [size for size in fitting if bracket.failed(size + 1)]
    low = max(fitting, default=0)
    # An edge that was seen is worth more than a larger size whose neighbour nobody tried.
    largest = edges[-1] if exhausted and edges else low
    return SearchResult(
        max_batch_size=largest,
        bounded_by="trials" if exhausted and not edges else _bound(bracket, largest),
        trials=tuple(bracket.trials),
        exact=largest in edges,
        non_monotone=low if low > largest else None,
    )


def _bound(bracket: Bracket[TrialT], largest: int) -> BoundedBy:
    """Name what keeps `largest` from being larger: how the smallest size above it failed."""
    if largest == bracket.maximum:
        return "cap"
    first = min(size for size, _ in bracket.trials if size > largest and bracket.failed(size))
    match bracket.outcome(first):
        case "oom":
            return "memory" if largest else "nothing fits"
        case "dataset":
            return "dataset"
        case _:
            return "error"
