"""Searches over some sizes alone: multiples of a step, a list, and what fitted elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from memory_curves import LIMIT, Tried, affine, sizes

from harness.errors import HarnessError
from harness.search.estimates import Estimate
from harness.search.search import search

if TYPE_CHECKING:
    from typing import Any

    from harness.search.search import Mode


@pytest.mark.parametrize("mode", ["exact", "power", "binsearch"])
@pytest.mark.parametrize("step", [1, 4, 7, 64])
def test_only_multiples_of_the_step_are_tried(mode: Mode, step: int) -> None:
    """With a step, every size is a multiple of it; exact modes end on the largest that fits."""
    result = search(affine(1000), memory_limit_bytes=LIMIT, mode=mode, step=step, min_batch_size=3)
    assert [] == [size for size in sizes(result) if size % step or size < 3]
    if mode != "power":
        assert (1000 // step * step, True) == (result.max_batch_size, result.exact)
        assert dict(result.probes)[result.max_batch_size + step].outcome == "oom"


@pytest.mark.parametrize("locked", [96, 100])
def test_lock_is_tried_at_its_multiple(locked: int) -> None:
    """A locked size is rounded down to the step, and the next multiple is its neighbour."""
    result = search(affine(100), memory_limit_bytes=LIMIT, locked=locked, step=8)
    assert [96, 104] == sizes(result)
    assert (96, True, "memory") == (result.max_batch_size, result.exact, result.bounded_by)


def test_step_rounds_the_range_inwards() -> None:
    """The smallest and the largest size that are tried are the multiples inside the range."""
    settings: dict[str, Any] = {"step": 10, "min_batch_size": 11, "max_batch_size": 39}
    result = search(affine(1000), memory_limit_bytes=LIMIT, **settings)
    assert (30, "cap") == (result.max_batch_size, result.bounded_by)
    assert [20] == sizes(search(lambda _: Tried("oom"), **settings))


def test_step_without_a_multiple_is_refused() -> None:
    """A range that holds no multiple of the step leaves nothing to search."""
    with pytest.raises(HarnessError, match="no multiple of step=8 lies from"):
        search(affine(10), step=8, min_batch_size=9, max_batch_size=15)


def test_estimates_count_in_samples_also_with_a_step() -> None:
    """The estimator is asked for numbers of samples, and its answer is rounded to the step."""
    asked: list[tuple[int, int]] = []

    def estimator(fitting: int, below: int) -> Estimate:
        asked.append((fitting, below))
        return Estimate(min(1003, below - 1), rough=fitting < 100)

    result = search(affine(1003), memory_limit_bytes=LIMIT, estimator=estimator, step=10)
    assert (1000, True) == (result.max_batch_size, result.exact)
    assert [] == [pair for pair in asked if pair[0] % 10 or pair[1] % 10]


GLOBAL = [divisor for divisor in range(1, 1025) if 1024 % divisor == 0]


@pytest.mark.parametrize("mode", ["exact", "power", "binsearch"])
@pytest.mark.parametrize("maximum", [1, 3, 511, 512, 1023, 1024, 5000])
def test_largest_of_given_sizes_is_found(mode: Mode, maximum: int) -> None:
    """Only the given sizes are tried; the next one above the answer was seen to fail."""
    result = search(affine(maximum), memory_limit_bytes=LIMIT, mode=mode, sizes=GLOBAL)
    expected = max(size for size in GLOBAL if size <= maximum)
    assert set() == set(sizes(result)).difference(GLOBAL)
    assert (expected, "cap" if expected == 1024 else "memory") == (
        result.max_batch_size,
        result.bounded_by,
    )
    if expected < 1024:
        assert dict(result.probes)[2 * expected].outcome == "oom"


def test_locked_one_of_given_sizes_takes_two_probes() -> None:
    """The search from a lock tries the locked size and the next one that is given."""
    result = search(affine(373), memory_limit_bytes=LIMIT, sizes=GLOBAL, locked=256)
    assert [256, 512] == sizes(result)


def test_sizes_of_which_none_fits_end_at_the_first() -> None:
    """Where not even the first of the given sizes fits, nothing does."""
    result = search(affine(3), memory_limit_bytes=LIMIT, sizes=[24, 48, 96])
    assert (0, "nothing fits") == (result.max_batch_size, result.bounded_by)
    assert [24] == sizes(result)[-1:]


def test_what_fitted_elsewhere_shows_where_to_go_on_and_costs_no_trial() -> None:
    """With probes of a larger limit two are left: the largest batch and the next one."""
    probe = affine(471)
    known = {size: probe(size) for size in (2, 32, 400)}
    result = search(probe, memory_limit_bytes=LIMIT, known=known, aim=471, max_trials=2)
    assert [471, 472] == sizes(result)
    assert (471, "memory", True) == (result.max_batch_size, result.bounded_by, result.exact)


def test_answer_never_rests_on_what_fitted_elsewhere() -> None:
    """The largest size that is allowed runs here, too; where it fails, no known fit counts."""
    known = {size: affine(1000)(size) for size in (2, 64)}
    fits = search(affine(1000), memory_limit_bytes=LIMIT, known=known, aim=64, max_batch_size=64)
    assert ([64], 64, "cap") == (sizes(fits), fits.max_batch_size, fits.bounded_by)
    fails = search(affine(40), memory_limit_bytes=LIMIT, known=known, aim=64, max_batch_size=64)
    assert (40, "memory", True) == (fails.max_batch_size, fails.bounded_by, fails.exact)


def test_known_sizes_off_the_grid_are_left_out() -> None:
    """With a step only multiples of it are known, within the range."""
    known = {size: affine(471)(size) for size in (7, 64, 600)}
    result = search(
        affine(471), memory_limit_bytes=LIMIT, known=known, aim=464, step=8, max_batch_size=512
    )
    assert [464, 472] == sizes(result)
    assert (464, True) == (result.max_batch_size, result.exact)
