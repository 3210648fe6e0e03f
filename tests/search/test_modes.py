"""The modes `power` and `binsearch` work as in Lightning's Tuner, but without its faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest

from harness.search.search import search

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measurement import Outcome
    from harness.search.search import SearchResult


@dataclass(frozen=True)
class Tried:
    """A probe's result without a peak."""

    outcome: Outcome
    peak_memory_bytes: None = None


def threshold(largest: int, beyond: Outcome = "oom") -> Callable[[int], Tried]:
    """Return a probe that fits up to `largest`, and then ends as `beyond`."""
    return lambda batch_size: Tried("fits" if batch_size <= largest else beyond)


def sizes(result: SearchResult[Tried]) -> list[int]:
    """Return the sizes that were tried, in order."""
    return [size for size, _ in result.probes]


@pytest.mark.parametrize(("largest", "expected"), [(2, 2), (3, 2), (4, 4), (100, 64), (1000, 512)])
def test_power_returns_the_last_doubling_that_fits(largest: int, expected: int) -> None:
    """Power mode doubles from 2, and its answer is the last size that fits, as in Lightning."""
    result = search(threshold(largest), mode="power")
    assert (expected, "memory") == (result.max_batch_size, result.bounded_by)


def test_power_says_whether_the_next_size_fails() -> None:
    """Doubling leaves a gap, so the result is exact only if the next size fails."""
    assert (
        search(threshold(100), mode="power").exact,
        search(threshold(1), mode="power").exact,
    ) == (False, True)


@pytest.mark.parametrize(("largest", "trials"), [(100, 13), (1000, 19)])
def test_binsearch_runs_as_many_trials_as_lightning(largest: int, trials: int) -> None:
    """Doubling and bisecting take Lightning's number of probes, and find the exact maximum."""
    result = search(threshold(largest), mode="binsearch")
    assert (largest, True, trials) == (result.max_batch_size, result.exact, len(result.probes))


def test_binsearch_bisects_as_lightning_does() -> None:
    """The sizes are Lightning's: doublings, then the rounded down mean."""
    assert sizes(search(threshold(13), mode="binsearch")) == [2, 4, 8, 16, 12, 14, 13]


@pytest.mark.parametrize(
    ("mode", "expected", "order"),
    [("power", 4, [64, 32, 16, 8, 4]), ("binsearch", 5, [64, 32, 16, 8, 4, 6, 5])],
)
def test_first_size_that_fails_is_halved(
    mode: Literal["power", "binsearch"], expected: int, order: list[int]
) -> None:
    """If the initial value is too large, both modes descend; Lightning would return 64."""
    result = search(threshold(5), mode=mode, init_val=64)
    assert (expected, order) == (result.max_batch_size, sizes(result))


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_cap_is_run_before_it_is_returned(mode: Literal["power", "binsearch"]) -> None:
    """The last doubling is clipped to the cap and probed; Lightning would return it untried."""
    result = search(threshold(10**6), mode=mode, max_batch_size=300)
    assert sizes(result) == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert (result.max_batch_size, result.bounded_by) == (300, "cap")


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_nothing_fits(mode: Literal["power", "binsearch"]) -> None:
    """If nothing fits, the answer is 0; Lightning returns 1, or raises with a batch size of 0."""
    result = search(threshold(0), mode=mode, init_val=8)
    assert sizes(result) == [8, 4, 2, 1]
    assert (result.max_batch_size, result.bounded_by) == (0, "nothing fits")


@pytest.mark.parametrize(
    ("mode", "expected", "bounded_by"), [("power", 256, "dataset"), ("binsearch", 300, "dataset")]
)
def test_data_set_bounds_the_search(
    mode: Literal["power", "binsearch"], expected: int, bounded_by: str
) -> None:
    """Sizes beyond the data set fail; Lightning would return 512 for 300 samples."""
    result = search(threshold(300, beyond="dataset"), mode=mode)
    assert (expected, bounded_by) == (result.max_batch_size, result.bounded_by)


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_error_asks_the_minimum(mode: Literal["power", "binsearch"]) -> None:
    """After an error before any fit, only the minimum is probed."""
    result = search(threshold(0, beyond="error"), mode=mode, init_val=64)
    assert sizes(result) == [64, 1]
    assert (result.max_batch_size, result.bounded_by) == (0, "error")


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_trials_end_the_search(mode: Literal["power", "binsearch"]) -> None:
    """After `max_trials` probes, the answer is the last size that fits."""
    result = search(threshold(10**6), mode=mode, max_trials=5)
    assert (sizes(result), result.max_batch_size, result.bounded_by) == (
        [2, 4, 8, 16, 32],
        32,
        "trials",
    )


def test_power_that_failed_in_its_last_trial_is_bounded_by_memory() -> None:
    """If the last allowed probe fails, the bound is memory: more probes would change nothing."""
    result = search(threshold(20), mode="power", max_trials=5)
    assert (result.max_batch_size, result.bounded_by) == (16, "memory")


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_initial_value_is_clipped_to_the_range(mode: Literal["power", "binsearch"]) -> None:
    """The minimum and the maximum also hold for the first probe."""
    low = search(threshold(10**6), mode=mode, init_val=2, min_batch_size=16, max_batch_size=64)
    high = search(threshold(10**6), mode=mode, init_val=128, min_batch_size=16, max_batch_size=64)
    assert (sizes(low), sizes(high)) == ([16, 32, 64], [64])
