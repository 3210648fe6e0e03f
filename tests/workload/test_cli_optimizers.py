"""The rate of an optimizer that a LightningCLI made is set where no attribute reaches it."""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from harness.workload import attributes


class Net(torch.nn.Module):
    """A network with a rate that its optimizer does not look at."""

    def __init__(self, schedule: str | None, **arguments: Any) -> None:
        super().__init__()
        self.lr = 7.0
        self.first, self.second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        groups: list[dict[str, Any]] = [
            {"params": self.first.parameters(), "lr": 0.5},
            {"params": self.second.parameters()},
        ]
        self.made = torch.optim.SGD(groups, lr=0.1)
        self.schedule = (
            getattr(lr_scheduler, schedule)(self.made, **arguments) if schedule else None
        )
        given = partial(_configure, optimizer=self.made, lr_scheduler=self.schedule)
        self.configure_optimizers = MethodType(given, self)  # as LightningCLI does


def _configure(_module: Any, optimizer: Any, lr_scheduler: Any = None) -> Any:
    return optimizer if lr_scheduler is None else ([optimizer], [lr_scheduler])


def test_rate_is_that_of_the_largest_group() -> None:
    """The others keep their ratio to it, and the attribute stays what it is."""
    net = Net(None)
    assert ("the optimizer of the configuration",) == attributes.learning_rate_places(net, None)
    attributes.set_learning_rate(net, None, 2.0)
    assert 2.0 == attributes.get_learning_rate(net, None)
    assert [2.0, 0.4] == [group["lr"] for group in net.made.param_groups]
    assert 7.0 == net.lr


def test_named_attribute_is_set_as_it_is_named() -> None:
    """The optimizer is taken only where the matrix names no attribute."""
    net = Net(None)
    attributes.set_learning_rate(net, None, 2.0, attr="lr")
    assert (2.0, 0.5) == (net.lr, net.made.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("schedule", "arguments"),
    [
        ("LambdaLR", {"lr_lambda": lambda step: (step + 1) / 4}),
        ("ExponentialLR", {"gamma": 0.5}),
        ("OneCycleLR", {"max_lr": [0.5, 0.1], "total_steps": 10, "cycle_momentum": False}),
        ("CosineAnnealingLR", {"T_max": 8}),
    ],
)
def test_schedule_goes_on_from_the_rate(schedule: str, arguments: dict[str, Any]) -> None:
    """Its rates are those of a schedule that began there."""
    net, other = Net(schedule, **arguments), Net(schedule, **arguments)
    before = attributes.get_learning_rate(net, None)
    attributes.set_learning_rate(net, None, 4 * before)
    for _ in range(4):
        for one in (net, other):
            one.made.step()
            assert one.schedule is not None
            one.schedule.step()
        rates = [[group["lr"] for group in one.made.param_groups] for one in (net, other)]
        assert pytest.approx([4 * rate for rate in rates[1]]) == rates[0]
