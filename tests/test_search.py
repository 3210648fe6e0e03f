"""The search by its public function: where it starts, when it ends and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError
from harness.measurement import Probe
from harness.search import search

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measurement import BoundedBy, Outcome
    from harness.search import SearchResult

MiB = 2**20
LIMIT = 1000 * MiB
# The second size of a cold start, and its neighbours.
SECOND_SIZES = range(32, 35)


@dataclass(frozen=True)
class Tried:
    """The least that a probe returns."""

    outcome: Outcome
    peak_memory_bytes: int | None = None


def affine(largest: int, base: float = 0.2) -> Callable[[int], Tried]:
    """Return a probe whose memory is `base` of the limit plus so much per sample that `largest` is the maximum."""
    slope = LIMIT * (1 - base) / (largest + 0.5)

    def probe(batch_size: int) -> Tried:
        memory = int(LIMIT * base + slope * batch_size)
        return Tried("fits", memory) if memory <= LIMIT else Tried("oom", LIMIT)

    return probe


def above(bound: int, outcome: Outcome, probe: Callable[[int], Tried]) -> Callable[[int], Tried]:
    """Return `probe` with `outcome` from `bound` on."""
    return lambda batch_size: Tried(outcome) if batch_size >= bound else probe(batch_size)


def sizes(result: SearchResult[Tried]) -> list[int]:
    """Return the sizes that were tried, in order."""
    return [size for size, _ in result.trials]


@pytest.mark.parametrize("largest", [1, 2, 3, 7, 100, 471, 8000])
def test_affine_memory_is_bracketed(largest: int) -> None:
    """On an affine curve the maximum fits, the next size was seen to fail, and the bound is memory."""
    result = search(affine(largest), memory_limit_bytes=LIMIT)
    assert (largest, "memory", True) == (result.max_batch_size, result.bounded_by, result.exact)
    assert dict(result.trials)[largest + 1].outcome == "oom"


def test_cold_start_costs_a_few_probes() -> None:
    """Two small sizes give a first aim below the maximum, and its peak the maximum, which is then confirmed."""
    result = search(affine(471), memory_limit_bytes=LIMIT)
    tried = sizes(result)
    assert (tried[:2], sorted(tried[3:])) == ([2, 32], [471, 472])
    assert 0.9 * 471 <= tried[2] < 471


def test_failure_of_the_second_size_is_stepped_back_from_by_factors() -> None:
    """Where the second size is too large, a quarter of it is next: a failure of a small batch is cheap."""
    assert sizes(search(affine(9), memory_limit_bytes=LIMIT))[:3] == [2, 32, 8]


def test_small_batches_that_follow_no_line_cost_no_near_failures() -> None:
    """Where small batches have flattened the line, the first aim still fits, and two more probes end the search."""

    def probe(batch_size: int) -> Tried:
        memory = 200 * MiB + batch_size * MiB + (MiB if batch_size < 16 else 0)
        return Tried("fits", memory) if memory <= LIMIT else Tried("oom")

    result = search(probe, memory_limit_bytes=LIMIT)
    assert (800, 5) == (result.max_batch_size, len(result.trials))
    assert [trial.outcome for _, trial in result.trials[:3]] == ["fits"] * 3


def test_failed_aim_is_followed_by_a_fit_near_the_limit() -> None:
    """A first aim that fails is stepped back from by the noise, not by a sample, so that the next one fits."""

    def probe(batch_size: int) -> Tried:
        memory = 200 * MiB + batch_size * MiB + (4 * MiB if batch_size < 16 else 0)
        return Tried("fits", memory) if memory <= LIMIT else Tried("oom")

    result = search(probe, memory_limit_bytes=LIMIT)
    assert ["fits", "fits", "oom", "fits"] == [trial.outcome for _, trial in result.trials[:4]]
    assert (800, 6) == (result.max_batch_size, len(result.trials))


def test_trials_hold_what_the_probe_returned() -> None:
    """Each trial is the probe's own object, so that the caller finds its fields again."""
    returned: list[Probe] = []

    def probe(batch_size: int) -> Probe:
        returned.append(Probe(batch_size, "fits" if batch_size <= 5 else "oom"))
        return returned[-1]

    result = search(probe)
    assert returned == [trial for _, trial in result.trials]


@pytest.mark.parametrize("largest", [1, 2, 33, 471, 5000])
def test_unchanged_lock_costs_two_probes(largest: int) -> None:
    """A locked size that is still the maximum is confirmed by itself and its neighbour."""
    result = search(affine(largest), memory_limit_bytes=LIMIT, locked=largest)
    assert [largest, largest + 1] == sizes(result)
    assert (largest, "memory", True) == (result.max_batch_size, result.bounded_by, result.exact)


def test_lock_at_the_cap_costs_one_probe() -> None:
    """Nothing above the cap is ever tried."""
    result = search(affine(500), memory_limit_bytes=LIMIT, max_batch_size=64, locked=64)
    assert sizes(result) == [64]
    assert (result.max_batch_size, result.bounded_by, result.exact) == (64, "cap", False)


@pytest.mark.parametrize("locked", [1, 2, 300, 450, 470, 472, 473, 480, 600, 5000, 65536, 10**9])
def test_wrong_lock_still_finds_the_maximum(locked: int) -> None:
    """However far the lock is off, the search ends at the maximum, within ten probes."""
    result = search(affine(471), memory_limit_bytes=LIMIT, locked=locked)
    assert (result.max_batch_size, result.exact) == (471, True)
    assert len(result.trials) <= 10


@pytest.mark.parametrize("locked", [469, 470, 472, 473])
def test_jitter_of_the_lock_is_cheap(locked: int) -> None:
    """A maximum that moved by one or two samples is found within five probes."""
    result = search(affine(471), memory_limit_bytes=LIMIT, locked=locked)
    assert result.max_batch_size == 471
    assert len(result.trials) <= 5


def test_lock_of_nothing_fits_starts_at_the_minimum() -> None:
    """A locked 0 means that the minimum failed: it is tried first."""
    result = search(lambda _: Tried("oom"), locked=0, min_batch_size=4)
    assert sizes(result) == [4]
    assert (result.max_batch_size, result.bounded_by) == (0, "nothing fits")


@pytest.mark.parametrize("aim", [3, 455, 471, 490, 700])
def test_aim_is_tried_first(aim: int) -> None:
    """A predicted maximum is the first size to be tried, and being wrong does no harm."""
    result = search(affine(471), memory_limit_bytes=LIMIT, aim=aim)
    assert aim == sizes(result)[0]
    assert result.max_batch_size == 471


def test_lock_goes_before_aim() -> None:
    """A measured maximum is better than a predicted one."""
    assert sizes(search(affine(471), memory_limit_bytes=LIMIT, locked=471, aim=400))[0] == 471


def test_two_errors_stop_a_broken_workload() -> None:
    """An error at the first size and one at the minimum say that batch size is not the trouble."""
    result = search(lambda _: Tried("error"), memory_limit_bytes=LIMIT, aim=471)
    assert sizes(result) == [471, 1]
    assert (result.max_batch_size, result.bounded_by, result.exact) == (0, "error", False)


def test_one_error_at_the_minimum_stops() -> None:
    """Where the first size is the minimum, there is nothing else to ask."""
    result = search(lambda _: Tried("error"), min_batch_size=2)
    assert sizes(result) == [2]
    assert result.bounded_by == "error"


@pytest.mark.parametrize("outcome", ["error", "dataset"])
@pytest.mark.parametrize("bound", [2, 9, 300, 471])
def test_other_failures_bound_the_search(outcome: BoundedBy, bound: int) -> None:
    """A failure that is not of memory is an upper bound like any other, and is named."""
    assert outcome in ("error", "dataset")
    probe = above(bound, outcome, affine(471))
    result = search(probe, memory_limit_bytes=LIMIT)
    assert (bound - 1, outcome, True) == (result.max_batch_size, result.bounded_by, result.exact)


def test_memory_below_an_error_is_the_bound() -> None:
    """What counts is how the neighbour fails, not how something far above does."""
    result = search(above(2675, "error", affine(471)), memory_limit_bytes=LIMIT, aim=4000)
    assert (result.max_batch_size, result.bounded_by) == (471, "memory")


def test_failure_of_the_smallest_batch_alone_is_no_obstacle() -> None:
    """A batch normalization that needs two samples fails at 1; the search has no reason to go there."""
    probe = affine(471)
    result = search(
        lambda size: Tried("error") if size == 1 else probe(size), memory_limit_bytes=LIMIT, locked=900
    )
    assert result.max_batch_size == 471


@pytest.mark.parametrize("outcome", ["oom", "dataset"])
def test_nothing_fits(outcome: Outcome) -> None:
    """When the minimum fails the answer is 0, never a size that was not seen to fit."""
    result = search(lambda _: Tried(outcome), min_batch_size=8, init_val=64)
    assert min(sizes(result)) == 8
    assert result.max_batch_size == 0
    assert {"oom": "nothing fits", "dataset": "dataset"}[outcome] == result.bounded_by


@pytest.mark.parametrize(("largest", "expected"), [(6, 0), (7, 7), (8, 7)])
def test_range_of_one_size(largest: int, expected: int) -> None:
    """Where minimum and maximum are the same, that size is tried once."""
    result = search(affine(largest), memory_limit_bytes=LIMIT, min_batch_size=7, max_batch_size=7)
    assert sizes(result) == [7]
    assert expected == result.max_batch_size


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_cap_is_run_before_it_is_returned(limit: int | None) -> None:
    """The cap is an answer only after it fits, and nothing beyond it is tried."""
    result = search(affine(10_000), memory_limit_bytes=limit, max_batch_size=777)
    assert (result.max_batch_size, result.bounded_by, result.exact) == (777, "cap", False)
    assert max(sizes(result)) == 777


@pytest.mark.parametrize("largest", [1, 2, 31, 32, 33, 16384, 65535])
def test_without_peaks_it_grows_and_bisects(largest: int) -> None:
    """A probe that does not know its peak still gives the exact maximum within the default trials."""
    result = search(lambda size: Tried("fits" if size <= largest else "oom"), memory_limit_bytes=LIMIT)
    assert (largest, "memory", True) == (result.max_batch_size, result.bounded_by, result.exact)


def test_flat_memory_grows_to_the_cap() -> None:
    """Memory that does not depend on the batch size ends at the cap, in few steps."""
    result = search(lambda _: Tried("fits", 10 * MiB), memory_limit_bytes=LIMIT)
    assert (result.max_batch_size, result.bounded_by) == (65536, "cap")
    assert len(result.trials) <= 7


def test_peak_that_moves_to_another_phase_is_not_extrapolated() -> None:
    """A curve that is flat at first and then rises costs more probes, but not many."""

    def probe(batch_size: int) -> Tried:
        memory = max(300 * MiB, 100 * MiB + batch_size * MiB)
        return Tried("fits", memory) if memory <= LIMIT else Tried("oom")

    result = search(probe, memory_limit_bytes=LIMIT)
    assert result.max_batch_size == 900
    assert len(result.trials) <= 9


def test_trials_bound_the_search() -> None:
    """When the trials are used up, the largest size that fits is the answer, and is said not to be exact."""
    result = search(affine(471), memory_limit_bytes=LIMIT, max_trials=3)
    assert len(result.trials) == 3
    assert (max(sizes(result)), "trials", False) == (
        result.max_batch_size,
        result.bounded_by,
        result.exact,
    )


def test_trials_used_up_before_anything_fits() -> None:
    """Without a size that fits the answer is 0, and the trials are the bound: smaller ones were not tried."""
    result = search(lambda _: Tried("oom"), init_val=64, max_trials=1)
    assert (result.max_batch_size, result.bounded_by) == (0, "trials")


def spike(largest: int, failing: range) -> Callable[[int], Tried]:
    """Return an affine probe that runs out of memory at some sizes below its maximum, too."""
    probe = affine(largest)
    return lambda size: Tried("oom") if size in failing else probe(size)


def test_failure_below_the_maximum_is_looked_past() -> None:
    """A size that fails far below what the peaks predict does not hide the sizes that fit above it."""
    result = search(spike(5000, SECOND_SIZES), memory_limit_bytes=LIMIT)
    assert (result.max_batch_size, result.exact, result.non_monotone) == (5000, True, None)


def test_larger_size_that_fits_is_told() -> None:
    """Cut short beyond such a failure, the answer is the size whose neighbour fails; the larger one is named."""
    probe = spike(5000, SECOND_SIZES)
    for max_trials in range(1, 40):
        result = search(probe, memory_limit_bytes=LIMIT, max_trials=max_trials)
        if result.non_monotone is not None:
            break
    assert (SECOND_SIZES[0] - 1, "memory", True) == (result.max_batch_size, result.bounded_by, result.exact)
    assert (result.non_monotone or 0) > SECOND_SIZES[-1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_the_probe_raises_passes_through(error: type[BaseException]) -> None:
    """An interrupt or a fault of the probe ends the search at once."""

    def probe(_: int) -> Tried:
        raise error

    with pytest.raises(error):
        search(probe)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_batch_size": 0},
        {"min_batch_size": 9, "max_batch_size": 8},
        {"init_val": 0},
        {"max_trials": 0},
        {"mode": "fast"},
    ],
)
def test_settings_that_leave_nothing_to_search(settings: dict[str, int]) -> None:
    """Such settings are refused with their name before anything runs."""
    name = next(iter(settings))
    with pytest.raises(HarnessError, match=name):
        search(affine(3), **settings)  # type: ignore[arg-type] # the point of the test
