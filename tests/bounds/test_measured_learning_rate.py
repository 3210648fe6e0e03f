"""Judging a learning rate by the locked one: within its bound, beyond it, refused, not compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bounds_values import BOUNDS, bounds, bounds_of
from measurements import locked, measurement

from harness.bounds.measured import judge, learning_rate_suspect
from harness.bounds.verdict import Verdict, Violation

if TYPE_CHECKING:
    from harness.matrix.settings import BoundsSettings


FACTOR_2 = bounds(max_factor=2.0)
RANGE = (0.0021, 0.0062)
"""Not in the middle around 0.00316: x1.5 below it, x1.96 above."""


@pytest.mark.parametrize(
    ("rate", "violated"),
    [
        (0.0021, False),
        (0.0021 * (1 - 1e-12), False),
        (0.002099, True),
        (0.0062, False),
        (0.0062 * (1 + 1e-12), False),
        (0.006201, True),
    ],
)
def test_a_learning_rate_must_lie_in_the_locked_range(rate: float, *, violated: bool) -> None:
    """Both ends are inside, also where a float misses one; beyond is a violation. Nothing warns."""
    verdict = judge(measurement(learning_rate=rate), locked(learning_rate_range=RANGE), BOUNDS)
    assert (bounds_of(verdict), verdict.warnings) == (["learning_rate"] * violated, ())


@pytest.mark.parametrize(
    ("lowest", "violated"), [(0.0031, False), (0.00316, False), (0.0032, True)]
)
def test_a_locked_rate_that_is_as_good_passes(lowest: float, *, violated: bool) -> None:
    """Each of two ranges is measured with noise: either may hold the other's rate."""
    measured = measurement(learning_rate=0.0079, learning_rate_range=(lowest, 0.02))
    verdict = judge(measured, locked(learning_rate_range=RANGE), BOUNDS)
    assert ["learning_rate"] * violated == bounds_of(verdict)
    assert violated == any(
        "now it is as good from 0.0032 to 0.02" in one.message for one in verdict.violations
    )


def test_a_learning_rate_out_of_range_says_everything() -> None:
    """The message names value, lock, range and horizon, the likely cause, and what to do."""
    measured = measurement(learning_rate=0.0079, bounded_by="cap")
    (violation,) = judge(measured, locked(learning_rate_range=RANGE), BOUNDS).violations
    message = (
        "learning_rate 0.0079 is x2.50 above the locked 0.00316; 0.0021 to 0.0062 is allowed, the "
        "range in which training over 40 steps was as good; now it is as good from 0.00527 to 0.0118; "
        "likely cause: bounded by cap, no longer by memory; find what changed the training, or lock the new rate with "
        "`pytest --gpu-profile --gpu-profile-update`"
    )
    assert violation == Violation("learning_rate", 0.00316, 0.0079, "0.0021 to 0.0062", message)


@pytest.mark.parametrize("limits", [BOUNDS, FACTOR_2], ids=["range", "max_factor"])
@pytest.mark.parametrize("rate", [0.00316, 1.0])
def test_a_lock_without_a_range_does_not_judge(rate: float, limits: BoundsSettings) -> None:
    """A rate that was locked before there were ranges is not judged: a warning says what helps."""
    old = locked(learning_rate_range=(), lr_horizon=None)
    assert judge(measurement(learning_rate=rate), old, limits) == Verdict(
        warnings=(
            (
                f"learning_rate {rate:.3g} is not judged against 0.00316: the lock holds no range for "
                "it, and `pytest --gpu-profile --gpu-profile-update` locks one"
            ),
        )
    )


@pytest.mark.parametrize("limits", [BOUNDS, FACTOR_2], ids=["range", "max_factor"])
def test_a_shorter_horizon_does_not_judge(limits: BoundsSettings) -> None:
    """Steps that are too few for the locked horizon answer another question: a warning."""
    verdict = judge(measurement(learning_rate=1.0, lr_horizon=20), locked(), limits)
    assert verdict == Verdict(
        warnings=(
            (
                "learning_rate 1 is not judged against 0.00316: it was locked over 40 steps, and "
                "lr_range.num_training leaves only 20"
            ),
        )
    )


@pytest.mark.parametrize(("rate", "violated"), [(1.0, ["learning_rate"]), (0.00316, [])])
def test_a_longer_horizon_judges(rate: float, violated: list[str]) -> None:
    """A training that became too slow for the locked one does not pass by that: it is judged."""
    verdict = judge(measurement(learning_rate=rate, lr_horizon=80), locked(), BOUNDS)
    assert violated == bounds_of(verdict)
    assert (not violated) == ("trials of 80 steps, where 40 were" in "".join(verdict.warnings))


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
def test_a_factor_replaces_the_range(factor: float, *, violated: bool, warned: bool) -> None:
    """With max_factor 2, x1.5 passes, x2 is a warning, beyond is a violation, up or down."""
    verdict = judge(measurement(learning_rate=0.00316 * factor), locked(), FACTOR_2)
    assert (bool(verdict.violations), bool(verdict.warnings)) == (violated, warned)


def test_a_factor_violation_says_everything() -> None:
    """The message names the factor, its direction and the allowed range."""
    (violation,) = judge(measurement(learning_rate=0.0079), locked(), FACTOR_2).violations
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
@pytest.mark.parametrize(
    ("ends", "limits", "allowed"),
    [
        (RANGE, BOUNDS, "0.0021 to 0.0062"),
        (RANGE, FACTOR_2, "0.00158 to 0.00632"),
        ((), BOUNDS, "0.00316"),
    ],
)
def test_a_refusal_in_place_of_a_number_is_a_violation(
    changes: dict[str, int], ends: tuple[float, ...], limits: BoundsSettings, allowed: str
) -> None:
    """A lost learning rate fails at any batch, with the reason of the refusal."""
    refused = measurement(
        learning_rate=None, lr_refusal="signal-to-noise 2.1 is under 4", **changes
    )
    (violation,) = judge(refused, locked(learning_rate_range=ends), limits).violations
    message = "no learning rate, where 0.00316 is locked: signal-to-noise 2.1 is under 4"
    assert violation == Violation("learning_rate", 0.00316, None, allowed, message)


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
    ("limits", "highest"), [(BOUNDS, 0.0062), (FACTOR_2, 0.00632)], ids=["range", "max_factor"]
)
@pytest.mark.parametrize(
    ("factor", "changes", "suspect"),
    [
        (1.001, {}, True),
        (1, {}, False),
        (300, {"batch_size": 100}, False),
        (300, {"recipe": "sha256:r2"}, False),
        (300, {"lr_horizon": 20}, False),
        (300, {"lr_horizon": 80}, True),
        (300, {"lr_kept": True}, False),
        (None, {}, False),
    ],
)
def test_only_a_number_that_would_fail_is_suspect(
    limits: BoundsSettings,
    highest: float,
    factor: float | None,
    changes: dict[str, object],
    *,
    suspect: bool,
) -> None:
    """New seeds confirm a learning rate only if its number would fail."""
    rate = None if factor is None else highest * factor
    found = measurement(learning_rate=rate, **changes)
    assert learning_rate_suspect(found, locked(learning_rate_range=RANGE), limits) is suspect


@pytest.mark.parametrize("changes", [{"learning_rate": None}, {"learning_rate_range": ()}])
def test_nothing_locked_is_nothing_to_suspect(changes: dict[str, Any]) -> None:
    """Without a locked learning rate, or without its range, none is suspect."""
    assert learning_rate_suspect(measurement(learning_rate=1.0), locked(**changes), BOUNDS) is False


def test_rate_of_a_sweep_alone_is_judged_by_a_factor() -> None:
    """The first stage measures no range: without max_factor nothing is judged, and both say why."""
    alone = {"learning_rate_range": (), "lr_horizon": None, "settings": {"lr_range.stages": 1}}
    measured = measurement(learning_rate=0.0079, **alone)
    verdict = judge(measured, locked(**alone), BOUNDS)
    assert [] == bounds_of(verdict)
    (warning,) = verdict.warnings
    assert (
        "learning_rate 0.0079 is not judged against 0.00316: lr_range.stages is 1, which measures "
        "no range: set bounds.learning_rate.max_factor, or lr_range.stages to 2 or 3"
    ) == warning
    assert ["learning_rate"] == bounds_of(judge(measured, locked(**alone), FACTOR_2))
