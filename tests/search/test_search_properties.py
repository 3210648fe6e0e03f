"""The search has these properties for any memory curve, any outcome and any locked size."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.search.search import search

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measurement import Outcome
    from harness.search.search import Mode, SearchResult

MiB = 2**20
LIMIT = 4096 * MiB
LARGEST = 8000
MANY = 200


@dataclass(frozen=True)
class Tried:
    """A minimal result of a probe."""

    outcome: Outcome
    peak_memory_bytes: int | None = None


def bounded(
    memory: Callable[[int], float], measured: Callable[[int], float] | None = None
) -> Callable[[int], Tried]:
    """Return a probe that fits while `memory` is within the limit; its peak is `measured`."""
    reported = measured or memory
    return lambda size: (
        Tried("fits", int(reported(size))) if memory(size) <= LIMIT else Tried("oom")
    )


def line(largest: int, share: float) -> Callable[[int], float]:
    """Return affine memory: `share` is its base over the limit, `largest` the last that fits."""
    slope = LIMIT * (1 - share) / (largest + 0.5)
    return lambda size: LIMIT * share + slope * size


def draws(seed: int, size: int) -> random.Random:
    """Return the random draws of a size, which are the same at every call."""
    return random.Random(seed * 100_003 + size)  # noqa: S311 - no secret


def rough(seed: int, noise: float) -> Callable[[int], float]:
    """Return a function from a size to a random factor, within `noise` of 1."""
    return lambda size: 1 + noise * draws(seed, size).uniform(-1, 1)


def num_checked(result: SearchResult[Tried], minimum: int = 1, maximum: int = 65536) -> int:
    """Check the properties of every result, and return the number of probes."""
    tried = [size for size, _ in result.probes]
    outcomes = {size: trial.outcome for size, trial in result.probes}
    assert len(tried) == len(set(tried))
    assert all(minimum <= size <= maximum for size in tried)
    if result.max_batch_size:
        assert outcomes[result.max_batch_size] == "fits"
    if result.exact:
        assert outcomes[result.max_batch_size + 1] != "fits"
    if result.non_monotone is not None:
        assert result.max_batch_size < result.non_monotone
        assert outcomes[result.non_monotone] == "fits"
    return len(tried)


# A busy machine may stall in the middle of an example.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
largest_sizes = st.integers(1, LARGEST)
shares = st.floats(0.01, 0.6)
starts = st.none() | st.integers(0, 2 * LARGEST)


@unhurried
@given(largest_sizes, shares)
def test_affine_costs_at_most_eight_probes(largest: int, share: float) -> None:
    """On any affine curve, the exact maximum is found without a lock within eight probes."""
    result = search(bounded(line(largest, share)), memory_limit_bytes=LIMIT)
    assert (largest, True) == (result.max_batch_size, result.exact)
    assert num_checked(result) <= 8


@unhurried
@given(largest_sizes, shares)
def test_unchanged_lock_costs_two(largest: int, share: float) -> None:
    """On any affine curve, an unchanged locked maximum is confirmed with two probes."""
    result = search(bounded(line(largest, share)), memory_limit_bytes=LIMIT, locked=largest)
    assert (largest, 2) == (result.max_batch_size, num_checked(result))


@unhurried
@given(largest_sizes, shares, starts, starts)
def test_any_lock_and_any_aim(
    largest: int, share: float, locked: int | None, aim: int | None
) -> None:
    """For any locked size and any aim, the search finds the maximum within twelve probes."""
    result = search(bounded(line(largest, share)), memory_limit_bytes=LIMIT, locked=locked, aim=aim)
    assert (largest, True) == (result.max_batch_size, result.exact)
    assert num_checked(result) <= 12


@unhurried
@given(largest_sizes, shares, st.integers(0, 2**32), starts)
def test_noisy_peaks(largest: int, share: float, seed: int, locked: int | None) -> None:
    """With peaks that are off by 0.3%, the maximum is still exact."""
    memory, noise = line(largest, share), rough(seed, 0.003)
    probe = bounded(memory, lambda size: memory(size) * noise(size))
    result = search(probe, memory_limit_bytes=LIMIT, locked=locked)
    assert (largest, True) == (result.max_batch_size, result.exact)
    assert num_checked(result) <= 25


@unhurried
@given(largest_sizes, shares, st.integers(0, 2**32), st.floats(0, 0.02), starts)
def test_rough_memory(
    largest: int, share: float, seed: int, noise: float, locked: int | None
) -> None:
    """If memory itself is rough, the answer fits and the next size does not."""
    memory, factor = line(largest, share), rough(seed, noise)
    result = search(
        bounded(lambda size: memory(size) * factor(size)),
        memory_limit_bytes=LIMIT,
        locked=locked,
        max_trials=MANY,
    )
    num_checked(result)
    assert result.exact or result.bounded_by == "nothing fits"


@unhurried
@given(largest_sizes, shares, st.sampled_from([2, 20, 200]), starts)
def test_stepped_memory(largest: int, share: float, segment_mib: int, locked: int | None) -> None:
    """If memory grows by whole segments, the answer fits and the next size does not."""
    memory, segment = line(largest, share), segment_mib * MiB
    probe = bounded(lambda size: -(-memory(size) // segment) * segment)
    result = search(probe, memory_limit_bytes=LIMIT, locked=locked, max_trials=MANY)
    assert (result.max_batch_size == 0) == (probe(1).outcome == "oom")
    assert num_checked(result) <= 40
    assert result.exact or result.bounded_by == "nothing fits"


@unhurried
@example(largest=6012, share=0.3125, kink=0.74609375, locked=None)
@given(largest_sizes, shares, st.floats(0, 1), starts)
def test_kinked_memory(largest: int, share: float, kink: float, locked: int | None) -> None:
    """If memory is flat up to a kink and rises beyond it, the maximum is exact."""
    memory = line(largest, share)
    flat = memory(int(kink * largest))
    probe = bounded(lambda size: max(flat, memory(size)))
    result = search(probe, memory_limit_bytes=LIMIT, locked=locked)
    assert (largest, True) == (result.max_batch_size, result.exact)
    assert num_checked(result) <= 25


@unhurried
@given(
    largest_sizes,
    shares,
    st.integers(1, 2 * LARGEST),
    st.sampled_from(["error", "dataset"]),
    starts,
)
def test_another_bound(
    largest: int, share: float, bound: int, outcome: Outcome, locked: int | None
) -> None:
    """If another kind of failure begins at some size, the smaller of the two bounds is named."""
    probe = bounded(line(largest, share))
    result = search(
        lambda size: Tried(outcome) if size >= bound else probe(size),
        memory_limit_bytes=LIMIT,
        locked=locked,
        max_trials=MANY,
    )
    num_checked(result)
    assert min(largest, bound - 1) == result.max_batch_size
    assert (outcome if bound <= largest + 1 else "memory") == result.bounded_by


@unhurried
@given(st.integers(1, 65535), st.booleans())
def test_without_memory_information(largest: int, limited: bool) -> None:
    """Without peaks, any maximum below the default cap is found within the default probes."""
    limit = LIMIT if limited else None
    result = search(
        lambda size: Tried("fits" if size <= largest else "oom"), memory_limit_bytes=limit
    )
    assert (largest, "memory", True) == (result.max_batch_size, result.bounded_by, result.exact)
    num_checked(result)


@unhurried
@given(largest_sizes, st.integers(0, 2**32), starts)
def test_meaningless_peaks(largest: int, seed: int, locked: int | None) -> None:
    """With peaks that are unrelated to the batch size, the maximum is still exact."""
    probe = bounded(
        lambda size: LIMIT if size <= largest else LIMIT + 1,
        lambda size: draws(seed, size).randint(0, 2 * LIMIT),
    )
    result = search(probe, memory_limit_bytes=LIMIT, locked=locked, max_trials=MANY)
    assert (largest, True) == (result.max_batch_size, result.exact)
    assert num_checked(result) <= 60


@unhurried
@given(
    st.sampled_from(["exact", "power", "binsearch"]),
    st.integers(0, 2**32),
    st.integers(1, 50),
    st.integers(0, 200),
    st.integers(1, 300),
    st.integers(1, 30),
    st.none() | st.integers(0, 300),
    st.none() | st.integers(-5, 300),
)
def test_any_outcomes(  # noqa: PLR0917 - hypothesis passes them all
    mode: Mode,
    seed: int,
    minimum: int,
    width: int,
    init_val: int,
    max_trials: int,
    locked: int | None,
    aim: int | None,
) -> None:
    """For any outcomes, the search stays in range, ends, and returns a size that fits, if any."""

    def probe(size: int) -> Tried:
        draw = draws(seed, size)
        outcome: Outcome = draw.choice(["fits", "fits", "oom", "error", "dataset"])
        return Tried(outcome, draw.choice([None, 0, draw.randint(1, LIMIT)]))

    maximum = minimum + width
    result = search(
        probe,
        mode=mode,
        memory_limit_bytes=LIMIT,
        min_batch_size=minimum,
        max_batch_size=maximum,
        init_val=init_val,
        max_trials=max_trials,
        locked=locked,
        aim=aim,
    )
    assert num_checked(result, minimum, maximum) <= max_trials
    fitting = [size for size, trial in result.probes if trial.outcome == "fits"]
    assert bool(fitting) == bool(result.max_batch_size)
