"""Sweeps of workloads with schedules, with groups that are added, and with unusual optimizers."""

from __future__ import annotations

import pytest
from lr_sweep_workloads import RATES, Small, run
from rate_workloads import Asks, here

from harness.lr_range.suggestion import geometric_sweep

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    "module",
    ["OneCycle", "Cyclic", "StepsByHand", "HoldsSchedules", "Plateau", "Wrapped", "TensorRate"],
)
def test_every_step_has_the_rate_of_the_sweep(module: str) -> None:
    """Schedules, by whom they are stepped, and kinds of optimizers change no rate of a sweep."""
    rates = geometric_sweep(1e-4, 1e-2, 8)
    found = run(here(module), rates=rates)
    assert (None, list(rates)) == (found["refusal"], found["learning_rates"])
    assert [pytest.approx(rate) for rate in rates] == [float(used) for (used,) in Small.used]


def test_schedules_can_be_asked_for_their_rate() -> None:
    """They tell the rates of any training, whatever the sweep's are."""
    Asks.told.clear()
    assert run(here("Asks"))["refusal"] is None
    assert [5e-4, 7.5e-4, 1e-3] == pytest.approx(Asks.told)


def test_added_groups_keep_their_ratio() -> None:
    """A group that is added gets the same share of the sweep's rate as of the configured one."""
    assert run(here("AddsGroup"))["refusal"] is None
    assert [pytest.approx((rate, rate / 10)) for rate in RATES] == Small.used


def test_groups_that_do_not_follow_are_not_swept() -> None:
    """They keep their rate; the sweep's is that of the largest of the others."""
    found = run(here("FixedBody"), fixed_groups=[0])
    assert [pytest.approx((0.5, rate)) for rate in RATES] == Small.used
    assert list(RATES) == found["learning_rates"]


def test_value_of_the_attribute_is_set_before_the_optimizer_is_made() -> None:
    """A rate of zero, or none, is no obstacle to a sweep from a usable value."""
    found = run(here("Head"), learning_rate=1e-3, module_args={"lr": 0.0})
    assert (None, 3) == (found["refusal"], len(found["losses"]))
