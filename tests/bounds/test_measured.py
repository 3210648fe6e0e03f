"""Judging a measurement by its locked profile, up to the exact limits of the batch size."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import pytest
from bounds_values import BOUNDS, bounds_of
from hypothesis import given
from hypothesis import strategies as st
from measurements import locked, measurement

from harness.bounds.measured import judge
from harness.bounds.sizes import largest_expected, smallest_allowed
from harness.bounds.verdict import Verdict, Violation
from harness.matrix.settings import BoundsSettings
from harness.measurement import DeviceIdentity, Probe


def test_the_locked_values_themselves_pass() -> None:
    """A measurement that equals the lock passes, without warnings or improvements."""
    assert judge(measurement(), locked(), BOUNDS) == Verdict()


def test_the_matrix_settings_are_bounds() -> None:
    """The bounds of the matrix are used directly; the defaults are 2% and x2."""
    verdict = judge(measurement(max_batch_size=3637), locked(), BoundsSettings())
    assert [(violation.bound, violation.allowed) for violation in verdict.violations] == [
        ("batch_size", 3638)
    ]


def test_a_case_that_was_never_locked_is_missing() -> None:
    """The first measurement of a case fails, because nothing is locked automatically."""
    expected = Violation("missing", None, 3712, None, "the case was never locked")
    assert judge(measurement(), None, BOUNDS) == Verdict((expected,))


@pytest.mark.parametrize(
    ("size", "max_drop", "allowed"),
    [
        (100, 0.02, 98),
        (150, 0.02, 147),
        (50, 0.02, 49),
        (49, 0.02, 49),
        (10, 0.02, 10),
        (1, 0.02, 1),
        (471, 0.02, 462),
        (3712, 0.0, 3712),
        (1000, 0.001, 999),
        (10, 0.3, 7),
        (3, 0.99, 1),
    ],
)
def test_smallest_allowed_batch(size: int, max_drop: float, allowed: int) -> None:
    """The smallest allowed batch is rounded up exactly, without an error of float arithmetic."""
    assert smallest_allowed(size, max_drop) == allowed


@given(size=st.integers(1, 10**7), permille=st.integers(0, 999))
def test_boundaries_are_those_of_exact_arithmetic(size: int, permille: int) -> None:
    """For any batch and bound, both boundaries equal those of exact fractions."""
    share = Fraction(permille, 1000)
    exact = (ceil(size * (1 - share)), floor(size * (1 + share)))
    assert (smallest_allowed(size, float(share)), largest_expected(size, float(share))) == exact


@pytest.mark.parametrize(
    ("measured", "violated"),
    [(3712, False), (3638, False), (3637, True), (1, True), (3786, False), (9999, False)],
)
def test_batch_size_boundary(measured: int, *, violated: bool) -> None:
    """2% below 3712 is 3637.76: 3638 passes and 3637 fails. A gain never fails."""
    verdict = judge(measurement(max_batch_size=measured), locked(), BOUNDS)
    assert bounds_of(verdict) == ["batch_size"] * violated


def test_batch_size_violation_says_everything() -> None:
    """The message names the measured, locked and allowed batch; the fields hold the numbers."""
    (violation,) = judge(measurement(max_batch_size=3600), locked(), BOUNDS).violations
    message = (
        "max_batch_size 3600 is 3.0% below the locked 3712; at least 3638 is allowed (max_drop 2%)"
    )
    assert violation == Violation("batch_size", 3712, 3600, 3638, message)


@pytest.mark.parametrize(("measured", "improved"), [(3786, False), (3787, True)])
def test_gain_beyond_the_bound_is_an_improvement(measured: int, *, improved: bool) -> None:
    """2% above 3712 is 3786.24: only a larger batch is an improvement."""
    verdict = judge(measurement(max_batch_size=measured), locked(), BOUNDS)
    assert verdict == Verdict(
        improvements=("max_batch_size 3787 is 2.0% above the locked 3712",) * improved
    )


def test_the_tuned_batch_is_not_judged() -> None:
    """Only the largest batch is judged: safety factor and rounding are the user's choice."""
    assert bounds_of(judge(measurement(batch_size=3300), locked(), BOUNDS)) == []


FAILED = Probe(64, "error", phase="forward", detail="RuntimeError: integer out of range")


def test_nothing_fits_is_a_violation_with_its_reason() -> None:
    """A measurement in which nothing trains fails with the error of the smallest batch, if any."""
    probes = (
        replace(FAILED, batch_size=2),
        replace(FAILED, batch_size=1),
        Probe(4, "oom"),
    )
    nothing = measurement(max_batch_size=0, batch_size=0, bounded_by="nothing fits", probes=probes)
    (violation,) = judge(nothing, locked(), BOUNDS).violations
    assert (violation.bound, violation.locked, violation.measured, violation.allowed) == (
        "batch_size",
        3712,
        0,
        3638,
    )
    assert violation.message.startswith(
        "no batch size trains (batch 1 failed in forward: RuntimeError: integer out of range); "
        "3712 is locked"
    )


def test_nothing_fits_without_a_lock_asks_for_no_lock() -> None:
    """A case that is not locked and in which nothing trains fails because nothing fits."""
    nothing = measurement(max_batch_size=0, batch_size=0, bounded_by="nothing fits")
    assert judge(nothing, None, BOUNDS).violations == (
        Violation("batch_size", None, 0, 1, "no batch size trains"),
    )


def test_an_error_that_ends_the_search_is_a_warning() -> None:
    """If the batch is the locked one, but an error ended the search, that is a warning."""
    verdict = judge(measurement(bounded_by="error", probes=(FAILED,)), locked(), BOUNDS)
    warning = (
        "an error ended the search (batch 64 failed in forward: RuntimeError: integer out of "
        "range); when the case was locked, it was bounded by memory"
    )
    assert verdict == Verdict(warnings=(warning,))


def test_an_error_that_was_locked_is_no_news() -> None:
    """A case is not warned of an error that ended the search already when it was locked."""
    assert judge(measurement(bounded_by="error"), locked(bounded_by="error"), BOUNDS) == Verdict()


@pytest.mark.parametrize(
    ("locked_size", "measured", "violated"),
    [(27, 26, False), (27, 25, True), (1, 1, False), (1000, 980, False), (1000, 979, True)],
)
def test_bound_is_never_tighter_than_the_noise_of_the_bounded_cpu(
    locked_size: int, measured: int, violated: bool
) -> None:
    """On the bounded CPU a drop of one sample or 0.5% is noise and fails no case."""
    cpu = DeviceIdentity("cpu", 1 << 25)
    verdict = judge(
        measurement(device=cpu, max_batch_size=measured, batch_size=measured),
        locked(device=cpu, max_batch_size=locked_size, batch_size=locked_size),
        BOUNDS,
    )
    assert violated == any(violation.bound == "batch_size" for violation in verdict.violations)


def test_a_gpu_has_no_such_noise() -> None:
    """A GPU's allocator repeats itself, so one sample of 27 is a regression."""
    verdict = judge(
        measurement(max_batch_size=26, batch_size=26),
        locked(max_batch_size=27, batch_size=27),
        BOUNDS,
    )
    assert ["batch_size"] == [violation.bound for violation in verdict.violations]


STEP = {"global_batch_size": 1024, "accumulate_grad_batches": 2, "batch_size": 512}


def test_drop_of_a_micro_batch_tells_the_accumulation() -> None:
    """The next divisor is far below, so the message says what a step takes now."""
    found = measurement(
        max_batch_size=256, global_batch_size=1024, accumulate_grad_batches=4, batch_size=256
    )
    (violation,) = judge(found, locked(max_batch_size=512, **STEP), BOUNDS).violations
    assert "max_batch_size 256 is 50.0% below the locked 512" in violation.message
    assert "a step of 1024 samples takes 4 micro-batches, where 2 are locked" in violation.message


def test_rate_of_one_global_batch_is_judged_at_any_micro_batch() -> None:
    """Both rates are of steps of as many samples, so a larger micro-batch hides no change."""
    found = measurement(
        max_batch_size=1024,
        global_batch_size=1024,
        accumulate_grad_batches=1,
        batch_size=1024,
        learning_rate=0.1,
        learning_rate_range=(0.05, 0.2),
    )
    verdict = judge(found, locked(max_batch_size=512, **STEP), BoundsSettings())
    assert ["learning_rate"] == [violation.bound for violation in verdict.violations]


def test_divisors_that_were_tried_are_named_where_none_trains() -> None:
    """Where no divisor of the global batch trains, the message says which were tried."""
    tried = tuple(Probe(size, "oom", "forward") for size in (2, 1))
    found = measurement(max_batch_size=0, batch_size=0, global_batch_size=1024, probes=tried)
    (violation,) = judge(found, None, BOUNDS).violations
    expected = "no batch size trains of those that divide global_batch_size 1024: tried 1, 2"
    assert expected == violation.message
