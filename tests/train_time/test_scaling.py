"""Carrying a learning rate and a number of epochs over to another batch size."""

from __future__ import annotations

from typing import Any

import pytest

import harness
from harness.errors import HarnessError


@pytest.mark.parametrize(
    ("rule", "expected"), [("linear", 0.04), ("sqrt", 0.02)], ids=["linear", "sqrt"]
)
def test_learning_rate_follows_the_batch(rule: Any, expected: float) -> None:
    """Four times the batch: four times the rate by `linear`, twice the rate by `sqrt`."""
    assert expected == pytest.approx(harness.scale_learning_rate(0.01, 64, 256, rule))
    assert pytest.approx(0.01) == harness.scale_learning_rate(expected, 256, 64, rule=rule)


def test_rule_is_linear_by_default() -> None:
    """Without a rule, the rate is proportional to the batch."""
    assert pytest.approx(0.005) == harness.scale_learning_rate(0.01, 64, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 64, 128), "lr=0.0: the learning rate is a number above 0"),
        ((float("nan"), 64, 128), "lr=nan: the learning rate is a number above 0"),
        ((None, 64, 128), "lr=None: the learning rate is a number above 0"),
        ((0.1, 0, 128), "from_batch=0: a whole number from 1 is needed"),
        ((0.1, 64, 1.5), "to_batch=1.5: a whole number from 1 is needed"),
        ((0.1, 64, True), "to_batch=True: a whole number from 1 is needed"),
        ((0.1, 64, 128, "cube"), "rule='cube': the rule is 'linear' or 'sqrt'"),
    ],
)
def test_bad_values_of_a_rate_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    """What is not allowed is named, with what is."""
    with pytest.raises(HarnessError) as refused:
        harness.scale_learning_rate(*arguments)
    assert message == str(refused.value)


@pytest.mark.parametrize(
    ("reference", "actual", "expected"),
    [(256, 256, 90), (256, 128, 180), (256, 384, 60), (256, 100, 231), (256, 1024, 50)],
)
def test_adjusted_epochs_keep_epochs_times_batch(
    reference: int, actual: int, expected: int
) -> None:
    """90 x reference / actual, rounded up, and 50 at least."""
    assert expected == harness.calculate_adjusted_epochs(90, reference, actual)


def test_minimum_of_epochs_holds_and_can_be_set() -> None:
    """The minimum holds even where the reference is shorter; 1 takes it away."""
    assert 50 == harness.calculate_adjusted_epochs(10, 32, 32)
    assert 3 == harness.calculate_adjusted_epochs(10, 32, 128, min_epochs=1)


@pytest.mark.parametrize(("actual", "expected"), [(64, 10), (128, 20), (100, 16), (1, 1)])
def test_equal_updates_take_epochs_in_proportion_to_the_batch(actual: int, expected: int) -> None:
    """10 x actual / 64, rounded up: never fewer updates than the reference had."""
    assert expected == harness.epochs_for_equal_updates(10, 64, actual)


@pytest.mark.parametrize(
    ("rule", "arguments", "name"),
    [
        (harness.calculate_adjusted_epochs, (0, 64, 64), "reference_epochs=0"),
        (harness.calculate_adjusted_epochs, (10, 64.0, 64), "reference_batch=64.0"),
        (harness.calculate_adjusted_epochs, (10, 64, -1), "actual_batch=-1"),
        (harness.calculate_adjusted_epochs, (10, 64, 64, 0), "min_epochs=0"),
        (harness.epochs_for_equal_updates, (10, "64", 64), "reference_batch='64'"),
        (harness.epochs_for_equal_updates, (10, 64, None), "actual_batch=None"),
    ],
)
def test_bad_values_of_epochs_are_refused(rule: Any, arguments: Any, name: str) -> None:
    """The message names the argument, as the caller wrote it."""
    with pytest.raises(HarnessError) as refused:
        rule(*arguments)
    assert f"{name}: a whole number from 1 is needed" == str(refused.value)
