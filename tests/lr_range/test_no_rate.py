"""Refusals of a range test say what was seen, and what would make it work."""

from __future__ import annotations

import math

import pytest

from harness.lr_range import no_rate
from harness.lr_range.trials import Trials

WILD = [math.sin(7.0 * step) for step in range(10)]


def trials(**levels: float) -> Trials:
    """Return trials of 10 steps: `m4=1.0` falls from 2 to 1 at point -4; control is the lowest."""
    by_point: dict[int, tuple[float, ...]] = {
        -24 if name == "control" else -int(name[1:]): (2.0,) * 5 + (level,) * 5
        for name, level in levels.items()
    }
    return Trials(10, -24, by_point)


def noisy() -> Trials:
    """Return trials whose drop of 0.1 is within the noise of the best one."""
    found = trials(control=2.0, m8=2.0)
    found.losses[-4] = tuple(1.9 + one for one in WILD)
    return found


@pytest.mark.parametrize(
    ("found", "seen", "remedy"),
    [
        (trials(control=2.0, m8=2.0), "the loss never fell", "raise lr_range.horizon"),
        (
            trials(control=2.0, m8=2.5, m4=3.0),
            "the loss rose at every learning rate",
            "lower lr_range.lr_min",
        ),
        (noisy(), "the signal is lost in the noise", "raise lr_range.horizon, or the batch size"),
        (trials(control=1.0, m8=1.0), "as good at lr_range.lr_min", "optimizer follows the rate"),
        (trials(control=math.nan), "the loss is not finite", "check the loss and the precision"),
        (trials(m6=1.99, m4=1.0), "training has only just begun at 0.1", "raise lr_range.horizon"),
    ],
    ids=["flat", "rising", "noisy", "low", "not finite", "just begun"],
)
def test_trials_that_say_nothing(found: Trials, seen: str, remedy: str) -> None:
    """Each reason has its own words and its own remedy."""
    refusal = no_rate.too_short(found, (10, 20))
    assert (True, True) == (seen in refusal, remedy in refusal), refusal


def test_losses_above_those_of_a_control_that_learns_did_not_rise() -> None:
    """The best rate lies below `lr_min`, whatever the higher ones do."""
    found = trials(m8=2.5, m4=3.0)
    found.losses[found.control] = tuple(4.0 * 0.7**step for step in range(found.horizon))
    assert "as good at lr_range.lr_min" in no_rate.too_short(found, (10, 20))


def test_the_losses_are_shown_from_the_lowest_rate_up() -> None:
    """Those that diverged, too."""
    found = trials(m8=1.5, m4=1.0)
    found.losses[-2] = (2.0, math.inf)
    refusal = no_rate.out_of_steps(found, 90)
    assert "(loss 1.5 at 0.01, 1 at 0.1, diverged at 0.32)" in refusal
    assert "took its 90 steps" in refusal


def test_many_trials_are_shown_in_part() -> None:
    """The eight lowest and the highest."""
    found = trials(**{f"m{point}": 2.0 for point in range(1, 23)})
    assert 9 == no_rate.open_below(found, 1e-6).count(" at ") - 2
    assert "2 at 0.56" in no_rate.open_below(found, 1e-6)


@pytest.mark.parametrize(
    ("beyond", "expected"),
    [
        ((100.0, 12.5), "with lr_range.lr_max: 100, which was tried too, this seed gives 12.5"),
        (None, "and further up"),
    ],
)
def test_an_open_upper_end(beyond: tuple[float, float] | None, expected: str) -> None:
    """What a decade more gives is told, or that it was not enough."""
    assert expected in no_rate.open_above(trials(m4=1.0), 10.0, beyond)


def test_seeds_that_disagree() -> None:
    """Their rates, how far they are apart and what is allowed."""
    assert (
        "the seeds disagree: over 30 steps they suggest 0.001, 0.01, x10.0 apart, and at most x3 is "
        "allowed"
    ) in no_rate.disagreement([1e-3, 1e-2], 30, 3.0)


def test_too_few_steps() -> None:
    """What is there, what is needed, and what to raise."""
    assert (
        "the range test may take 20 steps (lr_range.num_training x the number of seeds), and the "
        "trials of one seed need at least 35: raise lr_range.num_training"
    ) == no_rate.too_few_steps(20, 35)
