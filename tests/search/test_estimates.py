"""Searches with an estimator: what the allocations of a size that fits say of the maximum."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.search.estimates import Estimate, safe_size
from harness.search.search import search

if TYPE_CHECKING:
    from harness.search.search import SearchResult

LIMIT = 2**30
SMALL = 5
"""Below this size an estimate is rough."""


@dataclass(frozen=True)
class Tried:
    """A minimal result of a probe."""

    outcome: Literal["fits", "oom"]
    peak_memory_bytes: int


@dataclass
class Gpu:
    """Batches up to a maximum fit; estimates are off by a share of the way that they bridge."""

    largest: int
    error: float = 0.0
    probes: list[int] = field(default_factory=list)
    scouts: list[int] = field(default_factory=list)

    def probe(self, size: int) -> Tried:
        """Try a size in full."""
        self.probes.append(size)
        return self._try(size)

    def _try(self, size: int) -> Tried:
        """Try a size; near the maximum the reserved peak stands still."""
        peak = LIMIT // 5 + size * LIMIT // self.largest
        return Tried("fits" if size <= self.largest else "oom", min(peak, LIMIT))

    def scout(self, size: int) -> Tried:
        """Try a size, and note that it was scouted."""
        self.scouts.append(size)
        return self._try(size)

    def estimate(self, fitting: int, below: int) -> Estimate:
        """Estimate the maximum from a size that fits."""
        assert fitting <= self.largest < below or below > self.largest
        size = round(self.largest + self.error * (self.largest - fitting))
        return Estimate(max(fitting, min(size, below - 1)), rough=fitting < SMALL)

    def search(self, locked: int | None = None, aim: int | None = None) -> SearchResult[Tried]:
        """Search with scouts and estimates."""
        return search(
            self.probe,
            scout=self.scout,
            memory_limit_bytes=LIMIT,
            locked=locked,
            aim=aim,
            max_trials=60,
            estimator=self.estimate,
        )


def sizes(result: SearchResult[Tried]) -> list[int]:
    """Return the sizes that were tried, in order."""
    return [size for size, _ in result.probes]


def test_estimate_that_is_right_costs_four_probes() -> None:
    """A few samples, a prime at three quarters of the rough estimate, B and B + 1."""
    gpu = Gpu(158)
    assert [2, 113, 158, 159] == sizes(gpu.search())
    assert [2, 113] == gpu.scouts


def test_estimate_one_too_large_costs_no_more() -> None:
    """B + 1 fails, and then B fits."""
    assert [2, 113, 159, 158] == sizes(Gpu(158, error=1 / 45).search())


@pytest.mark.parametrize("largest", range(5, 60))
def test_no_size_is_tried_twice_in_full(largest: int) -> None:
    """An estimate that is one too large leads to the size below it, however near it comes from."""

    def estimator(fitting: int, below: int) -> Estimate:
        return Estimate(min(largest + 1, below - 1), rough=fitting < SMALL)

    gpu = Gpu(largest)
    result = search(gpu.probe, memory_limit_bytes=LIMIT, estimator=estimator)
    assert (largest, True) == (result.max_batch_size, result.exact)
    assert len(set(sizes(result))) == len(sizes(result)) <= 6


def test_estimate_far_off_is_mended_by_a_fit_near_the_maximum() -> None:
    """After a failure the search steps back by the estimate's error, and estimates again."""
    result = Gpu(980, error=0.08).search()
    assert (980, True) == (result.max_batch_size, result.exact)
    assert len(result.probes) <= 7


def test_estimates_that_are_always_exceeded_are_left_behind_in_strides() -> None:
    """Each ends just above its source, where cuDNN asks for less memory the less there is."""
    gpu = Gpu(1200)

    def modest(fitting: int, below: int) -> Estimate:
        if fitting < SMALL:
            return gpu.estimate(fitting, below)
        return Estimate(min(fitting + 1 + 6 * (fitting % 2), below - 1), rough=False)

    result = search(gpu.probe, memory_limit_bytes=LIMIT, max_trials=25, estimator=modest)
    assert (1200, True) == (result.max_batch_size, result.exact)


def test_few_samples_are_tried_as_they_are_estimated() -> None:
    """Where hardly anything fits, the rough estimate is as good as any, and is not scouted."""
    gpu = Gpu(3)
    assert [2, 3, 4] == sizes(gpu.search())
    assert [2] == gpu.scouts


def test_aim_that_fails_is_followed_by_a_scout_below_it() -> None:
    """A prediction that is too large still says where a scout will fit."""
    gpu = Gpu(471)
    assert [480, safe_size(480), 471, 472] == sizes(gpu.search(aim=480))
    assert [safe_size(480)] == gpu.scouts


def test_aim_that_fits_leads_to_an_estimate() -> None:
    """A prediction that is too small is followed by the estimate from its own allocations."""
    assert [400, 471, 472] == sizes(Gpu(471).search(aim=400))


def test_lock_that_no_longer_fits_is_searched_from_below() -> None:
    """After a regression the first size that fits leads to the maximum."""
    result = Gpu(300).search(locked=471)
    assert (300, True) == (result.max_batch_size, result.exact)
    assert len(result.probes) <= 6


def test_unchanged_lock_costs_two_probes() -> None:
    """Estimates change nothing about a lock that holds."""
    assert [471, 472] == sizes(Gpu(471).search(locked=471))


def test_estimator_that_cannot_tell_leaves_the_search_to_peaks() -> None:
    """Without an estimate the search goes by the line through two peaks, as on the CPU."""

    def probe(size: int) -> Tried:
        memory = LIMIT // 5 + size * (LIMIT // 500)
        return Tried("fits" if memory <= LIMIT else "oom", min(memory, LIMIT))

    with_none = search(probe, memory_limit_bytes=LIMIT, estimator=lambda *_: None)
    without = search(probe, memory_limit_bytes=LIMIT)
    assert with_none.probes == without.probes


@given(
    largest=st.integers(1, 20_000),
    answers=st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), min_size=1),
    start=st.sampled_from(["cold", "aimed", "locked"]),
    first=st.integers(1, 30_000),
)
def test_any_estimator_leads_to_the_maximum(
    largest: int, answers: list[tuple[int, bool]], start: str, first: int
) -> None:
    """Whatever an estimator says, the search ends, and its answer fits while the next fails."""
    left = iter(answers)
    gpu = Gpu(largest)

    def estimator(fitting: int, below: int) -> Estimate:
        size, rough = next(left, answers[-1])
        return Estimate(max(fitting, min(size, below - 1)), rough)

    result = search(
        gpu.probe,
        scout=gpu.scout,
        memory_limit_bytes=LIMIT,
        max_trials=100,
        locked=first if start == "locked" else None,
        aim=first if start == "aimed" else None,
        estimator=estimator,
    )
    assert (largest, True) == (result.max_batch_size, result.exact)
    assert [1] * len(gpu.probes) == [*Counter(gpu.probes).values()]


@pytest.mark.parametrize(
    ("size", "safe"), [(1, 1), (4, 3), (6, 4), (7, 5), (84, 61), (100, 73), (1000, 743)]
)
def test_safe_size_is_the_prime_at_three_quarters(size: int, safe: int) -> None:
    """Below five no prime tells samples from weights, so the size is taken as it is."""
    assert safe == safe_size(size)
