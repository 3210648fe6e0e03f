"""Judging a measurement by its locked profile, with the boundaries of each bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import locked, measurement

from harness.bounds import (
    Verdict,
    Violation,
    judge,
    largest_expected,
    learning_rate_suspect,
    likely_causes,
    smallest_allowed,
)
from harness.measurement import DeviceIdentity, Probe
from harness.settings import BoundsSettings

if TYPE_CHECKING:
    from harness.measurement import BoundedBy


@dataclass(frozen=True)
class BatchSize:
    """The bound on the batch size alone."""

    max_drop: float = 0.02


@dataclass(frozen=True)
class LearningRate:
    """The bound on the learning rate alone."""

    max_factor: float = 2.0


@dataclass(frozen=True)
class Limits:
    """Bounds with the default values."""

    batch_size: BatchSize = BatchSize()
    learning_rate: LearningRate = LearningRate()


BOUNDS = Limits()


def bounds_of(verdict: Verdict) -> list[str]:
    """Return which bounds a verdict finds violated."""
    return [violation.bound for violation in verdict.violations]


def test_the_locked_values_themselves_pass() -> None:
    """A measurement that found what is locked has nothing to say."""
    assert judge(measurement(), locked(), BOUNDS) == Verdict()


def test_the_matrix_settings_are_bounds() -> None:
    """What the matrix holds is taken as it is, with 2% and x2 as the defaults."""
    verdict = judge(measurement(max_batch_size=3637), locked(), BoundsSettings())
    assert [(violation.bound, violation.allowed) for violation in verdict.violations] == [
        ("batch_size", 3638)
    ]


def test_a_case_that_was_never_locked_is_missing() -> None:
    """Nothing is locked by itself: the first measurement fails."""
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
    """The locked batch less its share, rounded up; float arithmetic moves no boundary."""
    assert smallest_allowed(size, max_drop) == allowed


@given(size=st.integers(1, 10**7), permille=st.integers(0, 999))
def test_boundaries_are_those_of_exact_arithmetic(size: int, permille: int) -> None:
    """Whatever the batch and the bound, both boundaries are the exact fractions'."""
    share = Fraction(permille, 1000)
    exact = (ceil(size * (1 - share)), floor(size * (1 + share)))
    assert (smallest_allowed(size, float(share)), largest_expected(size, float(share))) == exact


@pytest.mark.parametrize(
    ("measured", "violated"),
    [(3712, False), (3638, False), (3637, True), (1, True), (3786, False), (9999, False)],
)
def test_batch_size_boundary(measured: int, *, violated: bool) -> None:
    """3637.76 is 2% below 3712: 3638 passes, 3637 fails; a gain never does."""
    verdict = judge(measurement(max_batch_size=measured), locked(), BOUNDS)
    assert bounds_of(verdict) == ["batch_size"] * violated


def test_batch_size_violation_says_everything() -> None:
    """The message has what was measured, locked and allowed; the fields have the numbers."""
    (violation,) = judge(measurement(max_batch_size=3600), locked(), BOUNDS).violations
    message = "max_batch_size 3600 is 3.0% below the locked 3712; at least 3638 is allowed (max_drop 2%)"
    assert violation == Violation("batch_size", 3712, 3600, 3638, message)


@pytest.mark.parametrize(("measured", "improved"), [(3786, False), (3787, True)])
def test_gain_beyond_the_bound_is_an_improvement(measured: int, *, improved: bool) -> None:
    """3786.24 is 2% above 3712: only what is beyond is worth a new lock."""
    verdict = judge(measurement(max_batch_size=measured), locked(), BOUNDS)
    assert verdict == Verdict(improvements=("max_batch_size 3787 is 2.0% above the locked 3712",) * improved)


def test_the_tuned_batch_is_not_judged() -> None:
    """Safety factor and rounding are the user's; the bound is on what fits."""
    assert bounds_of(judge(measurement(batch_size=3300), locked(), BOUNDS)) == []


FAILED = Probe(64, "error", phase="forward", detail="RuntimeError: integer out of range")


def test_nothing_fits_is_a_violation_with_its_reason() -> None:
    """That nothing trains fails, with the error of the smallest batch where it was no lack of memory."""
    probes = (replace(FAILED, batch_size=2, detail="another"), replace(FAILED, batch_size=1), Probe(4, "oom"))
    nothing = measurement(max_batch_size=0, batch_size=0, bounded_by="nothing fits", probes=probes)
    (violation,) = judge(nothing, locked(), BOUNDS).violations
    assert (violation.bound, violation.locked, violation.measured, violation.allowed) == (
        "batch_size",
        3712,
        0,
        3638,
    )
    assert violation.message.startswith(
        "no batch size trains (batch 1 failed in forward: RuntimeError: integer out of range); 3712 is locked"
    )


def test_nothing_fits_without_a_lock_asks_for_no_lock() -> None:
    """What does not train cannot be locked: the reason is that nothing fits, not that it was never locked."""
    nothing = measurement(max_batch_size=0, batch_size=0, bounded_by="nothing fits")
    assert judge(nothing, None, BOUNDS).violations == (
        Violation("batch_size", None, 0, 1, "no batch size trains"),
    )


def test_an_error_that_ends_the_search_is_a_warning() -> None:
    """The batch is the locked one, but memory is no longer what bounds it."""
    verdict = judge(measurement(bounded_by="error", probes=(FAILED,)), locked(), BOUNDS)
    warning = (
        "the search was ended by an error, not by memory as when it was locked "
        "(batch 64 failed in forward: RuntimeError: integer out of range)"
    )
    assert verdict == Verdict(warnings=(warning,))


def test_an_error_that_was_locked_is_no_news() -> None:
    """A case that an error bounded when it was locked needs no warning each time."""
    assert judge(measurement(bounded_by="error"), locked(bounded_by="error"), BOUNDS) == Verdict()


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
    """Within x1.5 is fine, up to x2 exactly a warning, beyond a violation; up and down alike."""
    verdict = judge(measurement(learning_rate=0.00316 * factor), locked(), BOUNDS)
    assert (bool(verdict.violations), bool(verdict.warnings)) == (violated, warned)


def test_learning_rate_violation_says_everything() -> None:
    """The message has the factor, its direction, and the range that is allowed."""
    (violation,) = judge(measurement(learning_rate=0.0079), locked(), BOUNDS).violations
    message = (
        "learning_rate 0.0079 is x2.50 above the locked 0.00316; 0.00158 to 0.00632 is allowed (max_factor 2)"
    )
    assert violation == Violation("learning_rate", 0.00316, 0.0079, "0.00158 to 0.00632", message)


def test_a_tight_factor_needs_no_warning_zone() -> None:
    """Where the bound is tighter than x1.5, what it allows passes in silence and the rest fails."""
    tight = Limits(learning_rate=LearningRate(1.2))
    assert judge(measurement(learning_rate=0.00316 * 1.2), locked(), tight) == Verdict()
    assert bounds_of(judge(measurement(learning_rate=0.00316 * 1.3), locked(), tight)) == ["learning_rate"]


@pytest.mark.parametrize(("batch_size", "judged"), [(3262, True), (3261, False), (3394, True), (3395, False)])
def test_learning_rates_compare_at_one_batch_only(batch_size: int, *, judged: bool) -> None:
    """Outside 2% of the locked tuned batch a learning rate is another one, which a warning says."""
    verdict = judge(measurement(learning_rate=1.0, batch_size=batch_size), locked(), BOUNDS)
    reason = f"learning_rate 1 is not judged against 0.00316: it was locked at batch 3328, this is batch {batch_size}"
    assert (bounds_of(verdict), verdict.warnings) == (["learning_rate"] * judged, () if judged else (reason,))


def test_learning_rates_compare_at_one_recipe_only() -> None:
    """With another recipe only the recipe fails."""
    verdict = judge(measurement(learning_rate=1.0, recipe="sha256:r2"), locked(), BOUNDS)
    assert bounds_of(verdict) == ["recipe"]


def test_a_kept_learning_rate_is_not_judged() -> None:
    """What was taken from the lock cannot disagree with it."""
    assert judge(measurement(learning_rate=1.0, lr_kept=True), locked(), BOUNDS) == Verdict()


@pytest.mark.parametrize("changes", [{}, {"batch_size": 3000}])
def test_a_refusal_in_place_of_a_number_is_a_violation(changes: dict[str, int]) -> None:
    """A lost learning rate fails with the reason of the refusal, at any batch."""
    refused = measurement(learning_rate=None, lr_refusal="signal-to-noise 2.1 is under 4", **changes)
    (violation,) = judge(refused, locked(), BOUNDS).violations
    message = "no learning rate, where 0.00316 is locked: signal-to-noise 2.1 is under 4"
    assert violation == Violation("learning_rate", 0.00316, None, "0.00158 to 0.00632", message)


def test_a_number_in_place_of_a_refusal_is_an_improvement() -> None:
    """A learning rate that was not there before is a gain."""
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
def test_only_a_number_that_would_fail_is_suspect(changes: dict[str, object], *, suspect: bool) -> None:
    """New seeds are run where, and only where, the learning rate would fail by its number."""
    assert learning_rate_suspect(measurement(**changes), locked(), BOUNDS) is suspect


def test_no_locked_number_is_nothing_to_suspect() -> None:
    """Where the lock holds no learning rate none can disagree with it."""
    assert learning_rate_suspect(measurement(), locked(learning_rate=None), BOUNDS) is False


WORKLOAD = {"module": "zoo.Net", "num_parameters": 11181642, "parameters": "sha256:p1"}


@pytest.mark.parametrize(
    ("workload", "changes"),
    [
        (WORKLOAD | {"num_parameters": 11689512}, "num_parameters 11181642 -> 11689512"),
        (WORKLOAD | {"parameters": "sha256:p2"}, "names, shapes or dtypes of the parameters"),
        (WORKLOAD | {"sample": "float32[3, 64, 64]"}, "sample none -> float32[3, 64, 64]"),
        (WORKLOAD, "what it is made of was not recorded"),
    ],
)
def test_another_workload_makes_the_lock_stale(workload: dict[str, int | str], changes: str) -> None:
    """A fingerprint that differs fails, and says what changed in the workload."""
    (violation,) = judge(measurement(fingerprint="sha256:f2", workload=workload), locked(), BOUNDS).violations
    assert violation == Violation(
        "fingerprint",
        "sha256:f1",
        "sha256:f2",
        "sha256:f1",
        f"the lock is stale, it describes another workload: {changes}",
    )


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"trainer.precision": "32-true"}, "trainer.precision bf16-mixed -> 32-true"),
        ({}, "trainer.precision bf16-mixed -> the default"),
        (
            {"trainer.precision": "bf16-mixed", "search.round_to": 8},
            "search.round_to the default -> 8",
        ),
        (
            {"trainer.precision": "bf16-mixed"},
            "its settings read the same, so that a default or the environment changed",
        ),
    ],
)
def test_another_recipe_makes_the_lock_stale(settings: dict[str, object], changes: str) -> None:
    """A recipe that differs fails, and says which settings changed."""
    (violation,) = judge(measurement(recipe="sha256:r2", settings=settings), locked(), BOUNDS).violations
    assert (violation.bound, violation.message) == (
        "recipe",
        f"the lock is stale, it was made with another recipe: {changes}",
    )


def test_staleness_comes_before_what_it_explains() -> None:
    """A stale case is told to be stale first; the drop names it as its likely cause."""
    fresh = measurement(
        max_batch_size=3000, fingerprint="sha256:f2", workload=WORKLOAD | {"num_parameters": 1}
    )
    violations = judge(fresh, locked(), BOUNDS).violations
    assert [violation.bound for violation in violations] == ["fingerprint", "batch_size"]
    assert violations[1].message.endswith(
        "; likely cause: the workload changed: num_parameters 11181642 -> 1"
    )


def test_other_versions_are_a_likely_cause_only() -> None:
    """Another torch alone is no violation; of a drop it is the likely cause."""
    other = measurement(made_with=measurement().made_with | {"torch": "2.12.0"})
    assert judge(other, locked(), BOUNDS) == Verdict()
    (violation,) = judge(replace(other, max_batch_size=3000), locked(), BOUNDS).violations
    assert violation.message.endswith("; likely cause: made with other versions: torch 2.11.0 -> 2.12.0")


@pytest.mark.parametrize("now", ["dataset", "cap", "trials"])
def test_what_bounds_the_search_now_is_a_likely_cause(now: BoundedBy) -> None:
    """A search that something else than memory ended says so."""
    assert likely_causes(measurement(bounded_by=now), locked()) == (f"bounded by {now}, no longer by memory",)


def test_another_recipe_is_a_likely_cause() -> None:
    """What differs between the settings explains what differs between the values."""
    other = measurement(recipe="sha256:r2", settings={"trainer.precision": "32-true"})
    assert likely_causes(other, locked()) == ("the recipe changed: trainer.precision bf16-mixed -> 32-true",)


def test_without_differences_no_cause_is_likely() -> None:
    """Where all is as it was locked, nothing is blamed."""
    assert likely_causes(measurement(), locked()) == ()


@pytest.mark.parametrize(
    ("locked_size", "measured", "violated"),
    [(27, 26, False), (27, 25, True), (1, 1, False), (1000, 980, False), (1000, 979, True)],
)
def test_bound_is_never_tighter_than_the_noise_of_the_bounded_cpu(
    locked_size: int, measured: int, violated: bool
) -> None:
    """On the CPU's budget one sample, or 0.5%, comes and goes by itself, and fails nothing."""
    cpu = DeviceIdentity("cpu", 1 << 25)
    verdict = judge(
        measurement(device=cpu, max_batch_size=measured, batch_size=measured),
        locked(device=cpu, max_batch_size=locked_size, batch_size=locked_size),
        BOUNDS,
    )
    assert violated == any(violation.bound == "batch_size" for violation in verdict.violations)


def test_a_gpu_has_no_such_noise() -> None:
    """A caching allocator repeats itself: one sample of 27 is a regression there."""
    verdict = judge(
        measurement(max_batch_size=26, batch_size=26), locked(max_batch_size=27, batch_size=27), BOUNDS
    )
    assert ["batch_size"] == [violation.bound for violation in verdict.violations]
