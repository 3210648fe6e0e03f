"""Schedules from a locked learning rate: the peak of a OneCycleLR, and what stands beside it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from measurements import locked
from torch.optim.lr_scheduler import OneCycleLR

from harness.errors import HarnessError


def test_peak_is_the_factor_times_the_rate_inside_of_the_range() -> None:
    """A factor that stays inside of the range is taken as it is."""
    tuned = locked(learning_rate=0.01, learning_rate_range=(0.006, 0.02))
    assert {"max_lr": 0.015, "cycle_momentum": False} == tuned.one_cycle(1.5)


def test_peak_ends_at_the_upper_end_of_the_range(caplog: pytest.LogCaptureFixture) -> None:
    """Three times the rate is above the range here: the peak is its end, and the log says so."""
    tuned = locked(learning_rate=0.01, learning_rate_range=(0.006, 0.02))
    with caplog.at_level(logging.INFO, "harness"):
        assert pytest.approx(0.02) == tuned.one_cycle()["max_lr"]
    said = (
        "resnet18-h200-224: the peak is 0.02, the upper end of learning_rate_range; 3 times the "
        "locked learning rate would be 0.03"
    )
    assert [said] == caplog.messages


def test_peak_without_a_range_is_told_as_unmeasured(caplog: pytest.LogCaptureFixture) -> None:
    """Where no range is locked nothing limits the peak, and a warning says so."""
    tuned = locked(learning_rate=0.01, learning_rate_range=())
    assert pytest.approx(0.03) == tuned.one_cycle(max_factor=3)["max_lr"]
    (record,) = caplog.records
    assert logging.WARNING == record.levelno
    assert "has no learning_rate_range: nothing measured says that 0.03, 3 times" in caplog.text


def test_groups_keep_their_ratio_and_the_optimizer_its_momentum() -> None:
    """OneCycleLR takes the values as they are: each group peaks in proportion to its own rate."""
    body, head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
    groups = [
        {"params": list(body.parameters()), "lr": 0.001},
        {"params": list(head.parameters()), "lr": 0.01},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.001, momentum=0.5)
    tuned = locked(learning_rate=0.001, learning_rate_range=(0.0006, 0.002))
    schedule = OneCycleLR(optimizer, total_steps=10, **tuned.one_cycle(optimizer=optimizer))
    peaks = [0.0, 0.0]
    for _ in range(9):
        optimizer.step()
        schedule.step()
        now = map(float, schedule.get_last_lr())
        peaks = [max(pair) for pair in zip(peaks, now, strict=True)]
    assert pytest.approx([0.002, 0.02]) == peaks
    assert [0.5, 0.5] == [group["momentum"] for group in optimizer.param_groups]


@pytest.mark.parametrize("factor", [0.5, 0, float("inf"), float("nan"), "3", True])
def test_factor_below_one_is_refused(factor: Any) -> None:
    """A peak below the locked rate is no peak; the message names what is allowed."""
    with pytest.raises(HarnessError, match=r"^max_factor=.*: a number from 1 is needed"):
        locked().one_cycle(factor)


def test_profile_without_a_rate_has_no_peak() -> None:
    """The refusal gives the reason why no rate is locked."""
    tuned = locked(learning_rate=None, lr_refusal="the loss never fell")
    with pytest.raises(HarnessError, match=r"without a learning rate: the loss never fell\. See"):
        tuned.one_cycle()


def test_what_is_no_optimizer_is_refused() -> None:
    """A module handed over instead of its optimizer is named."""
    with pytest.raises(HarnessError, match="optimizer=Linear: an optimizer of torch is needed"):
        locked().one_cycle(optimizer=torch.nn.Linear(1, 1))
