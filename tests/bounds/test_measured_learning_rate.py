"""Judging a learning rate by the locked one: within its bound, beyond it, refused, not compared."""

from __future__ import annotations

import pytest
from bounds_values import BOUNDS, bounds, bounds_of
from measurements import locked, measurement

from harness.bounds.measured import judge, learning_rate_suspect
from harness.bounds.verdict import Verdict, Violation


@pytest.mark.parametrize(
    ("factor", "violated", "warned"),
    [
        (1.0, False, False),
        (1.5, False, False),
        (1 / 1.5, False, False),
        (1.51, False, True),
        (2.0, False, True),
        (0.5, False, True),
        (2.001, True, False),
        (0.499, True, False),
    ],
)
def test_learning_rate_boundaries(factor: float, *, violated: bool, warned: bool) -> None:
    """Up to x1.5 passes, up to x2 is a warning, beyond is a violation, in either direction."""
    verdict = judge(measurement(learning_rate=0.00316 * factor), locked(), BOUNDS)
    assert (bool(verdict.violations), bool(verdict.warnings)) == (violated, warned)


def test_learning_rate_violation_says_everything() -> None:
    """The message names the factor, its direction and the allowed range."""
    (violation,) = judge(measurement(learning_rate=0.0079), locked(), BOUNDS).violations
    message = (
        "learning_rate 0.0079 is x2.50 above the locked 0.00316; "
        "0.00158 to 0.00632 is allowed (max_factor 2)"
    )
    assert violation == Violation("learning_rate", 0.00316, 0.0079, "0.00158 to 0.00632", message)


def test_a_tight_factor_needs_no_warning_zone() -> None:
    """If the bound is tighter than x1.5, a learning rate passes without a warning or fails."""
    tight = bounds(max_factor=1.2)
    assert judge(measurement(learning_rate=0.00316 * 1.2), locked(), tight) == Verdict()
    assert bounds_of(judge(measurement(learning_rate=0.00316 * 1.3), locked(), tight)) == [
        "learning_rate"
    ]


@pytest.mark.parametrize(
    ("batch_size", "judged"), [(3262, True), (3261, False), (3394, True), (3395, False)]
)
def test_learning_rates_compare_at_one_batch_only(batch_size: int, *, judged: bool) -> None:
    """If the tuned batch is not within 2% of the locked one, the rate is not judged: a warning."""
    verdict = judge(measurement(learning_rate=1.0, batch_size=batch_size), locked(), BOUNDS)
    reason = (
        "learning_rate 1 is not judged against 0.00316: it was locked at batch 3328, "
        f"this is batch {batch_size}"
    )
    assert (bounds_of(verdict), verdict.warnings) == (
        ["learning_rate"] * judged,
        () if judged else (reason,),
    )


def test_learning_rates_compare_at_one_recipe_only() -> None:
    """With another recipe, only the recipe fails: the learning rate is not judged."""
    verdict = judge(measurement(learning_rate=1.0, recipe="sha256:r2"), locked(), BOUNDS)
    assert bounds_of(verdict) == ["recipe"]


def test_a_kept_learning_rate_is_not_judged() -> None:
    """A learning rate that was taken from the lock is not judged by it."""
    assert judge(measurement(learning_rate=1.0, lr_kept=True), locked(), BOUNDS) == Verdict()


@pytest.mark.parametrize("changes", [{}, {"batch_size": 3000}])
def test_a_refusal_in_place_of_a_number_is_a_violation(changes: dict[str, int]) -> None:
    """A lost learning rate fails at any batch, with the reason of the refusal."""
    refused = measurement(
        learning_rate=None, lr_refusal="signal-to-noise 2.1 is under 4", **changes
    )
    (violation,) = judge(refused, locked(), BOUNDS).violations
    message = "no learning rate, where 0.00316 is locked: signal-to-noise 2.1 is under 4"
    assert violation == Violation("learning_rate", 0.00316, None, "0.00158 to 0.00632", message)


def test_a_number_in_place_of_a_refusal_is_an_improvement() -> None:
    """A learning rate where none is locked is an improvement."""
    verdict = judge(measurement(), locked(learning_rate=None, lr_refusal="too noisy"), BOUNDS)
    assert verdict == Verdict(
        improvements=("learning_rate 0.00316, where the lock holds a refusal: too noisy",)
    )


def test_a_refusal_as_locked_passes() -> None:
    """A case that is locked without a learning rate stays without one."""
    refused = measurement(learning_rate=None, lr_refusal="synthetic")
    assert judge(refused, locked(learning_rate=None, lr_refusal="synthetic"), BOUNDS) == Verdict()


@pytest.mark.parametrize(
    ("changes", "suspect"),
    [
        ({"learning_rate": 0.00316 * 2.001}, True),
        ({"learning_rate": 0.00316 * 2}, False),
        ({"learning_rate": 1.0, "batch_size": 100}, False),
        ({"learning_rate": 1.0, "recipe": "sha256:r2"}, False),
        ({"learning_rate": 1.0, "lr_kept": True}, False),
        ({"learning_rate": None}, False),
    ],
)
def test_only_a_number_that_would_fail_is_suspect(
    changes: dict[str, object], *, suspect: bool
) -> None:
    """New seeds confirm a learning rate only if its number would fail."""
    assert learning_rate_suspect(measurement(**changes), locked(), BOUNDS) is suspect


def test_no_locked_number_is_nothing_to_suspect() -> None:
    """Without a locked learning rate, none is suspect."""
    assert learning_rate_suspect(measurement(), locked(learning_rate=None), BOUNDS) is False
