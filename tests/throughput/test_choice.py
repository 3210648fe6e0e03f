"""The choice of a batch size by its speed, on simulated machines."""

from __future__ import annotations

import pytest
from speed_curves import CURVES, NOISES, Noise, chance, run

from harness.throughput import Rounds, candidates, choose, sizes_to_time, spaced
from harness.throughput.choice import FLOOR, LEAST_ROUNDS, MOST_ROUNDS

SIZES = candidates(1, 500, 1)


def smallest_as_fast(name: str) -> int:
    """Return the smallest size that is truly slower than the best by no more than the floor."""
    fastest = max(map(CURVES[name], SIZES))
    return next(size for size in SIZES if CURVES[name](size) >= (1 - FLOOR) * fastest)


@pytest.mark.parametrize(
    ("minimum", "largest", "step", "also", "expected"),
    [
        (1, 471, 1, None, (1, 2, 4, 8, 16, 32, 64, 128, 256, 471)),
        (1, 16, 1, None, (1, 2, 4, 8, 16)),
        (5, 20, 1, None, (8, 16, 20)),
        (1, 100, 24, None, (24, 48, 96, 100)),
        (1, 7, 8, None, (1, 2, 4, 7)),
        (40, 30, 1, None, (30,)),
        (1, 20, 8, 12, (8, 16, 20)),
        (1, 9, 1, 6, (1, 2, 4, 6, 8, 9)),
        (1, 9, 1, 12, (1, 2, 4, 8, 9)),
        (1, 1, 1, None, (1,)),
        (1, 0, 1, None, ()),
    ],
)
def test_candidates_are_powers_of_two_and_the_largest(
    minimum: int, largest: int, step: int, also: int | None, expected: tuple[int, ...]
) -> None:
    """They are multiples of the step, from the smallest allowed size to the largest tuned one."""
    assert expected == candidates(minimum, largest, step, also)


@pytest.mark.parametrize(
    ("allowed", "also", "expected"),
    [
        ([1, 2, 3, 4, 6, 8, 12, 24], None, (1, 2, 4, 8, 24)),
        ([1, 2, 3, 4, 6, 8, 12], 6, (1, 2, 4, 6, 8, 12)),
        ([8, 16, 24], 12, (8, 16, 24)),
        ([7], 7, (7,)),
        ([], None, ()),
    ],
)
def test_sizes_of_a_list_are_a_factor_of_two_apart(
    allowed: list[int], also: int | None, expected: tuple[int, ...]
) -> None:
    """Of the divisors of a global batch not all are timed."""
    assert expected == spaced(allowed, also)


@pytest.mark.parametrize("name", CURVES)
def test_choice_without_noise_is_the_smallest_as_fast(name: str) -> None:
    """Without noise each curve gives the size that is right by its definition."""
    choice, _ = run(SIZES, CURVES[name], Noise(0.0, round=0.3), chance(0))
    assert smallest_as_fast(name) == choice.batch_size


@pytest.mark.parametrize("noise", ["quiet", "usual", "loud"])
@pytest.mark.parametrize("name", CURVES)
def test_choice_is_never_truly_slow(name: str, noise: str) -> None:
    """In 24 runs no chosen size is slower than the best by more than floor and noise."""
    random, fastest = chance(3), max(map(CURVES[name], SIZES))
    slowest = min(
        CURVES[name](run(SIZES, CURVES[name], NOISES[noise], random)[0].batch_size)
        for _ in range(24)
    )
    assert slowest >= (1 - FLOOR - NOISES[noise].probe) * fastest


@pytest.mark.parametrize("name", CURVES)
def test_disturbed_probes_hardly_ever_mislead(name: str) -> None:
    """Where one probe of seven is slowed down by far, at most one of 24 choices is 15% too slow."""
    random, fastest = chance(5), max(map(CURVES[name], SIZES))
    chosen = [run(SIZES, CURVES[name], NOISES["disturbed"], random)[0] for _ in range(24)]
    slow = [one for one in chosen if CURVES[name](one.batch_size) < 0.85 * fastest]
    assert len(slow) <= 1


@pytest.mark.parametrize("noise", ["quiet", "usual"])
@pytest.mark.parametrize("name", ["saturating", "linear", "peaked"])
def test_two_runs_agree(name: str, noise: str) -> None:
    """Where no size is slower by about the floor, 22 of 24 runs choose the same."""
    random = chance(7)
    chosen = [run(SIZES, CURVES[name], NOISES[noise], random)[0].batch_size for _ in range(24)]
    assert max(map(chosen.count, chosen)) >= 22


@pytest.mark.parametrize("noise", ["usual", "loud"])
@pytest.mark.parametrize("name", CURVES)
def test_locked_size_stays(name: str, noise: str) -> None:
    """A size that was chosen is chosen again in 20 of 24 runs, also at the floor."""
    random, same = chance(11), 0
    for _ in range(24):
        first = run(SIZES, CURVES[name], NOISES[noise], random)[0].batch_size
        same += first == run(SIZES, CURVES[name], NOISES[noise], random, first)[0].batch_size
    assert same >= 20


def test_locked_size_that_is_worse_goes() -> None:
    """A locked size that has become slow is replaced, and so is one for which a smaller serves."""
    for locked in (4, 500):
        choice, _ = run(SIZES, CURVES["peaked"], NOISES["quiet"], chance(0), locked)
        assert (256, 256) == (choice.batch_size, choice.without_lock)


def test_sizes_that_are_far_too_slow_are_timed_once() -> None:
    """After the first round no size below two fifths of the best is timed."""
    rounds = Rounds([{size: CURVES["linear"](size) for size in SIZES}])
    assert [256, 500] == sizes_to_time(SIZES, rounds)


def test_one_size_needs_no_rounds() -> None:
    """There is nothing to compare a single size with."""
    assert [] == sizes_to_time((8,), Rounds())


def test_rounds_end() -> None:
    """A size that is slower by just the floor is timed for the most rounds, and no more."""
    values = (0.96, 1.0)
    rounds = Rounds([{8: 98.0 * values[at % 2], 16: 100.0} for at in range(MOST_ROUNDS)])
    assert [] == sizes_to_time((8, 16), rounds)
    assert [8, 16] == sizes_to_time((8, 16), Rounds([{8: 98.0, 16: 100.0}]))


def test_choice_tells_how_much_slower_it_is() -> None:
    """The share by which the chosen size is slower stands beside it."""
    rounds = Rounds([{8: 99.0, 16: 100.0}] * LEAST_ROUNDS)
    choice = choose((8, 16), rounds)
    assert (8, 16, 0.01) == (choice.batch_size, choice.best, round(choice.slower, 6))
