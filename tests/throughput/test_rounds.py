"""Speeds in rounds, and their comparison."""

from __future__ import annotations

import math

from speed_curves import chance

from harness.throughput import Rounds, speed_of


def test_noise_of_a_whole_round_cancels() -> None:
    """Two sizes are compared round by round, so a slow machine slows neither."""
    rounds = Rounds([{8: 50.0 * slow, 16: 100.0 * slow} for slow in (1.0, 0.3, 1.4, 0.7)])
    found = rounds.difference(8, 16, (8, 16))
    assert round(-math.log(2), 9) == round(found.centre, 9)
    assert found.uncertainty < 0.01


def test_sizes_are_compared_in_the_rounds_that_have_both() -> None:
    """A round without one of the two is left out."""
    rounds = Rounds([{8: 50.0, 16: 100.0}, {16: 10.0}, {8: 50.0, 16: 100.0}])
    assert 2 == rounds.difference(8, 16, (8, 16)).num_rounds


def test_one_disturbed_round_moves_little() -> None:
    """A median and the gaps of pairs of rounds shrug off one round."""
    speeds = [100.0, 101.0, 99.0, 30.0, 100.5]
    speed = speed_of(8, Rounds([{8: one} for one in speeds]), 7)
    assert (8, 100.0, 5, 7) == (
        speed.batch_size,
        speed.samples_per_second,
        speed.num_rounds,
        speed.peak_memory_bytes,
    )
    assert speed.samples_per_second_spread is not None
    assert speed.samples_per_second_spread < 3


def test_spread_is_the_standard_deviation() -> None:
    """Over many rounds of normal noise the spread is its standard deviation."""
    random = chance(0)
    rounds = Rounds([{8: 1000 * math.exp(random.gauss(0, 0.05))} for _ in range(400)])
    spread = speed_of(8, rounds, None).samples_per_second_spread
    assert spread is not None
    assert 45 < spread < 55


def test_one_round_has_no_spread() -> None:
    """Nothing is known of the noise of a size that was timed once."""
    assert None is speed_of(8, Rounds([{8: 100.0}]), None).samples_per_second_spread
