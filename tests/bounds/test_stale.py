"""Judging a measurement of another workload, recipe or version, and the likely causes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from bounds_values import BOUNDS
from measurements import locked, measurement

from harness.bounds.causes import likely_causes
from harness.bounds.measured import judge
from harness.bounds.verdict import Verdict, Violation

if TYPE_CHECKING:
    from harness.measurement import BoundedBy

WORKLOAD = {"module": "zoo.Net", "num_parameters": 11181642, "parameters": "sha256:p1"}


@pytest.mark.parametrize(
    ("workload", "changes"),
    [
        (WORKLOAD | {"num_parameters": 11689512}, "num_parameters 11181642 -> 11689512"),
        (WORKLOAD | {"parameters": "sha256:p2"}, "names, shapes or dtypes of the parameters"),
        (WORKLOAD | {"sample": "float32[3, 64, 64]"}, "sample none -> float32[3, 64, 64]"),
        (WORKLOAD, "its parts were not recorded"),
    ],
)
def test_another_workload_makes_the_lock_stale(
    workload: dict[str, int | str], changes: str
) -> None:
    """Another fingerprint fails, and the message lists what changed in the workload."""
    (violation,) = judge(
        measurement(fingerprint="sha256:f2", workload=workload), locked(), BOUNDS
    ).violations
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
            "its settings read the same, so a default or the environment changed",
        ),
    ],
)
def test_another_recipe_makes_the_lock_stale(settings: dict[str, object], changes: str) -> None:
    """Another recipe fails, and the message lists the settings that changed."""
    (violation,) = judge(
        measurement(recipe="sha256:r2", settings=settings), locked(), BOUNDS
    ).violations
    assert (violation.bound, violation.message) == (
        "recipe",
        f"the lock is stale, it was made with another recipe: {changes}",
    )


def test_staleness_comes_before_what_it_explains() -> None:
    """The first violation says that the lock is stale; the drop names this as its likely cause."""
    fresh = measurement(
        max_batch_size=3000, fingerprint="sha256:f2", workload=WORKLOAD | {"num_parameters": 1}
    )
    violations = judge(fresh, locked(), BOUNDS).violations
    assert [violation.bound for violation in violations] == ["fingerprint", "batch_size"]
    assert violations[1].message.endswith(
        "; likely cause: the workload changed: num_parameters 11181642 -> 1"
    )


def test_other_versions_are_a_likely_cause_only() -> None:
    """Another torch alone is no violation, but it is the likely cause of a drop."""
    other = measurement(made_with=measurement().made_with | {"torch": "2.12.0"})
    assert judge(other, locked(), BOUNDS) == Verdict()
    (violation,) = judge(replace(other, max_batch_size=3000), locked(), BOUNDS).violations
    assert violation.message.endswith(
        "; likely cause: made with other versions: torch 2.11.0 -> 2.12.0"
    )


@pytest.mark.parametrize("now", ["dataset", "cap", "trials"])
def test_what_bounds_the_search_now_is_a_likely_cause(now: BoundedBy) -> None:
    """A search that something other than memory ended names it as a likely cause."""
    assert likely_causes(measurement(bounded_by=now), locked()) == (
        f"bounded by {now}, no longer by memory",
    )


def test_another_recipe_is_a_likely_cause() -> None:
    """Changed settings are named as the likely cause of a drop."""
    other = measurement(recipe="sha256:r2", settings={"trainer.precision": "32-true"})
    assert likely_causes(other, locked()) == (
        "the recipe changed: trainer.precision bf16-mixed -> 32-true",
    )


def test_without_differences_no_cause_is_likely() -> None:
    """A measurement that differs in nothing else than its value has no likely cause."""
    assert likely_causes(measurement(), locked()) == ()
