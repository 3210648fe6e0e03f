"""The public function `search`: its first sizes, its end and its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from memory_curves import LIMIT, MiB, Tried, above, affine, sizes

from harness.errors import HarnessError
from harness.measurement import Probe
from harness.search.search import search

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measurement import BoundedBy, Outcome

# The second size of a cold start, and its neighbours.
SECOND_SIZES = range(32, 35)


@pytest.mark.parametrize("largest", [1, 2, 3, 7, 100, 471, 8000])
def test_affine_memory_is_bracketed(largest: int) -> None:
    """On an affine curve, the maximum fits, the next size fails, and the bound is memory."""
    result = search(affine(largest), memory_limit_bytes=LIMIT)
    assert (largest, "memory", True) == (result.max_batch_size, result.bounded_by, result.exact)
    assert dict(result.probes)[largest + 1].outcome == "oom"


def test_cold_start_costs_a_few_probes() -> None:
    """Two small sizes give an aim below the maximum, and the aim's peak gives the maximum."""
    result = search(affine(471), memory_limit_bytes=LIMIT)
    tried = sizes(result)
    assert (tried[:2], sorted(tried[3:])) == ([2, 32], [471, 472])
    assert 0.9 * 471 <= tried[2] < 471


def test_failure_of_the_second_size_is_stepped_back_from_by_factors() -> None:
    """If the second size fails, the next is a quarter of it."""
    assert sizes(search(affine(9), memory_limit_bytes=LIMIT))[:3] == [2, 32, 8]


def test_small_batches_that_follow_no_line_cost_no_near_failures() -> None:
    """If small batches flatten the line, the first aim still fits, and two more probes suffice."""

    def probe(batch_size: int) -> Tried:
        memory = 200 * MiB + batch_size * MiB + (MiB if batch_size < 16 else 0)
        return Tried("fits", memory) if memory <= LIMIT else Tried("oom")

    result = search(probe, memory_limit_bytes=LIMIT)
    assert (800, 5) == (result.max_batch_size, len(result.probes))
    assert [trial.outcome for _, trial in result.probes[:3]] == ["fits"] * 3


def test_failed_aim_is_followed_by_a_fit_near_the_limit() -> None:
    """After an aim that fails, the search steps back by the noise, so that the next size fits."""

    def probe(batch_size: int) -> Tried:
        memory = 200 * MiB + batch_size * MiB + (4 * MiB if batch_size < 16 else 0)
        return Tried("fits", memory) if memory <= LIMIT else Tried("oom")

    result = search(probe, memory_limit_bytes=LIMIT)
    assert ["fits", "fits", "oom", "fits"] == [trial.outcome for _, trial in result.probes[:4]]
    assert (800, 6) == (result.max_batch_size, len(result.probes))


def test_trials_hold_what_the_probe_returned() -> None:
    """The result holds the objects that the probe returned."""
    returned: list[Probe] = []

    def probe(batch_size: int) -> Probe:
        returned.append(Probe(batch_size, "fits" if batch_size <= 5 else "oom"))
        return returned[-1]

    result = search(probe)
    assert returned == [trial for _, trial in result.probes]


@pytest.mark.parametrize("largest", [1, 2, 33, 471, 5000])
def test_unchanged_lock_costs_two_probes(largest: int) -> None:
    """A locked size that is still the maximum costs two probes: it and its neighbour."""
    result = search(affine(largest), memory_limit_bytes=LIMIT, locked=largest)
    assert [largest, largest + 1] == sizes(result)
    assert (largest, "memory", True) == (result.max_batch_size, result.bounded_by, result.exact)


def test_lock_at_the_cap_costs_one_probe() -> None:
    """A locked size at the cap costs one probe, because nothing above the cap is tried."""
    result = search(affine(500), memory_limit_bytes=LIMIT, max_batch_size=64, locked=64)
    assert sizes(result) == [64]
    assert (result.max_batch_size, result.bounded_by, result.exact) == (64, "cap", False)


@pytest.mark.parametrize("locked", [1, 2, 300, 450, 470, 472, 473, 480, 600, 5000, 65536, 10**9])
def test_wrong_lock_still_finds_the_maximum(locked: int) -> None:
    """For any locked size, the search finds the maximum within ten probes."""
    result = search(affine(471), memory_limit_bytes=LIMIT, locked=locked)
    assert (result.max_batch_size, result.exact) == (471, True)
    assert len(result.probes) <= 10


@pytest.mark.parametrize("locked", [469, 470, 472, 473])
def test_jitter_of_the_lock_is_cheap(locked: int) -> None:
    """A maximum that moved by one or two samples is found within five probes."""
    result = search(affine(471), memory_limit_bytes=LIMIT, locked=locked)
    assert result.max_batch_size == 471
    assert len(result.probes) <= 5


def test_lock_of_nothing_fits_starts_at_the_minimum() -> None:
    """After a locked 0, which means that the minimum failed, the minimum is tried first."""
    result = search(lambda _: Tried("oom"), locked=0, min_batch_size=4)
    assert sizes(result) == [4]
    assert (result.max_batch_size, result.bounded_by) == (0, "nothing fits")


@pytest.mark.parametrize("aim", [3, 455, 471, 490, 700])
def test_aim_is_tried_first(aim: int) -> None:
    """A predicted maximum is tried first, and a wrong one still leads to the maximum."""
    result = search(affine(471), memory_limit_bytes=LIMIT, aim=aim)
    assert aim == sizes(result)[0]
    assert result.max_batch_size == 471


def test_lock_goes_before_aim() -> None:
    """A locked maximum is tried before a predicted one."""
    assert sizes(search(affine(471), memory_limit_bytes=LIMIT, locked=471, aim=400))[0] == 471


def test_two_errors_stop_a_broken_workload() -> None:
    """The search stops after an error at the first size and another at the minimum."""
    result = search(lambda _: Tried("error"), memory_limit_bytes=LIMIT, aim=471)
    assert sizes(result) == [471, 1]
    assert (result.max_batch_size, result.bounded_by, result.exact) == (0, "error", False)


def test_one_error_at_the_minimum_stops() -> None:
    """If the first size is the minimum, one error stops the search."""
    result = search(lambda _: Tried("error"), min_batch_size=2)
    assert sizes(result) == [2]
    assert result.bounded_by == "error"


@pytest.mark.parametrize("outcome", ["error", "dataset"])
@pytest.mark.parametrize("bound", [2, 9, 300, 471])
def test_other_failures_bound_the_search(outcome: BoundedBy, bound: int) -> None:
    """An error, or the end of the data set, bounds the search as memory does, and is named."""
    assert outcome in ("error", "dataset")
    probe = above(bound, outcome, affine(471))
    result = search(probe, memory_limit_bytes=LIMIT)
    assert (bound - 1, outcome, True) == (result.max_batch_size, result.bounded_by, result.exact)


def test_memory_below_an_error_is_the_bound() -> None:
    """The bound is the failure of the next size, not that of a size far above."""
    result = search(above(2675, "error", affine(471)), memory_limit_bytes=LIMIT, aim=4000)
    assert (result.max_batch_size, result.bounded_by) == (471, "memory")


def test_failure_of_the_smallest_batch_alone_is_no_obstacle() -> None:
    """A size 1 that fails, as with batch normalization, does not stop the search above it."""
    probe = affine(471)
    result = search(
        lambda size: Tried("error") if size == 1 else probe(size),
        memory_limit_bytes=LIMIT,
        locked=900,
    )
    assert result.max_batch_size == 471


@pytest.mark.parametrize("outcome", ["oom", "dataset"])
def test_nothing_fits(outcome: Outcome) -> None:
    """If the minimum fails, the answer is 0."""
    result = search(lambda _: Tried(outcome), min_batch_size=8, init_val=64)
    assert min(sizes(result)) == 8
    assert result.max_batch_size == 0
    assert {"oom": "nothing fits", "dataset": "dataset"}[outcome] == result.bounded_by


@pytest.mark.parametrize(("largest", "expected"), [(6, 0), (7, 7), (8, 7)])
def test_range_of_one_size(largest: int, expected: int) -> None:
    """If minimum and maximum are equal, that size is tried once."""
    result = search(affine(largest), memory_limit_bytes=LIMIT, min_batch_size=7, max_batch_size=7)
    assert sizes(result) == [7]
    assert expected == result.max_batch_size


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_cap_is_run_before_it_is_returned(limit: int | None) -> None:
    """The cap is the answer only if it was probed and fits; nothing beyond it is tried."""
    result = search(affine(10_000), memory_limit_bytes=limit, max_batch_size=777)
    assert (result.max_batch_size, result.bounded_by, result.exact) == (777, "cap", False)
    assert max(sizes(result)) == 777


@pytest.mark.parametrize("largest", [1, 2, 31, 32, 33, 16384, 65535])
def test_without_peaks_it_grows_and_bisects(largest: int) -> None:
    """Without peaks, the exact maximum is found within the default number of probes."""
    result = search(
        lambda size: Tried("fits" if size <= largest else "oom"), memory_limit_bytes=LIMIT
    )
    assert (largest, "memory", True) == (result.max_batch_size, result.bounded_by, result.exact)


def test_flat_memory_grows_to_the_cap() -> None:
    """If memory does not depend on the batch size, the cap is reached within seven probes."""
    result = search(lambda _: Tried("fits", 10 * MiB), memory_limit_bytes=LIMIT)
    assert (result.max_batch_size, result.bounded_by) == (65536, "cap")
    assert len(result.probes) <= 7


def test_peak_that_moves_to_another_phase_is_not_extrapolated() -> None:
    """A curve that is flat and then rises is searched within nine probes."""

    def probe(batch_size: int) -> Tried:
        memory = max(300 * MiB, 100 * MiB + batch_size * MiB)
        return Tried("fits", memory) if memory <= LIMIT else Tried("oom")

    result = search(probe, memory_limit_bytes=LIMIT)
    assert result.max_batch_size == 900
    assert len(result.probes) <= 9


def test_trials_bound_the_search() -> None:
    """When no probes are left, the answer is the largest size that fits, and is not exact."""
    result = search(affine(471), memory_limit_bytes=LIMIT, max_trials=3)
    assert len(result.probes) == 3
    assert (max(sizes(result)), "trials", False) == (
        result.max_batch_size,
        result.bounded_by,
        result.exact,
    )


def test_trials_used_up_before_anything_fits() -> None:
    """When no probes are left and nothing fits yet, the answer is 0, and the bound is "trials"."""
    result = search(lambda _: Tried("oom"), init_val=64, max_trials=1)
    assert (result.max_batch_size, result.bounded_by) == (0, "trials")


def spike(largest: int, failing: range) -> Callable[[int], Tried]:
    """Return an affine probe that also runs out of memory at some sizes below its maximum."""
    probe = affine(largest)
    return lambda size: Tried("oom") if size in failing else probe(size)


def test_failure_below_the_maximum_is_looked_past() -> None:
    """If a size far below the prediction fails, the search still finds the maximum above it."""
    result = search(spike(5000, SECOND_SIZES), memory_limit_bytes=LIMIT)
    assert (result.max_batch_size, result.exact, result.non_monotone) == (5000, True, None)


def test_larger_size_that_fits_is_told() -> None:
    """If the probes run out above such a failure, the answer is below it, and exact.

    The result names the larger size that fits as `non_monotone`.
    """
    probe = spike(5000, SECOND_SIZES)
    for max_trials in range(1, 40):
        result = search(probe, memory_limit_bytes=LIMIT, max_trials=max_trials)
        if result.non_monotone is not None:
            break
    assert (SECOND_SIZES[0] - 1, "memory", True) == (
        result.max_batch_size,
        result.bounded_by,
        result.exact,
    )
    assert (result.non_monotone or 0) > SECOND_SIZES[-1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_the_probe_raises_passes_through(error: type[BaseException]) -> None:
    """An exception of the probe ends the search at once and passes through."""

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
    """Settings that leave nothing to search are refused with their name before any probe."""
    name = next(iter(settings))
    with pytest.raises(HarnessError, match=name):
        search(affine(3), **settings)  # type: ignore[arg-type] # the point of the test
