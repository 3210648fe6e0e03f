"""The learning rates that `configure_optimizers` makes of the attribute, read without training."""

from __future__ import annotations

from typing import Any

import pytest
from rate_workloads import here, read

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("module", "more", "attribute", "values", "rates"),
    [
        ("Head", {}, "Head.lr", [1e-3, 2e-3], [[1e-3, 1e-2], [2e-3, 2e-2]]),
        ("FixedBody", {}, "FixedBody.lr", [1e-3, 2e-3], [[0.5, 5e-4], [0.5, 1e-3]]),
        ("PerBatch", {}, "PerBatch.lr", [1e-3, 2e-3], [[2.5e-4], [5e-4]]),
        ("InHparams", {}, "InHparams.hparams.learning_rate", [1e-3, 2e-3], [[5e-4], [1e-3]]),
        ("EarlyOptimizer", {}, "EarlyOptimizer.lr", [1e-3, 2e-3], [[1e-3], [1e-3]]),
        ("Unset", {}, "Unset.lr", [1e-3, 2e-3], [[1e-3], [2e-3]]),
        ("OneCycle", {}, "OneCycle.lr", [1e-3, 2e-3], [[1e-3], [2e-3]]),
        ("Cyclic", {}, "Cyclic.lr", [1e-3, 2e-3], [[1e-3], [2e-3]]),
        ("Head", {"values": (0.5,)}, "Head.lr", [0.5], [[0.5, 5.0]]),
        ("OnlyOnce", {}, "OnlyOnce.lr", [1e-3], [[1e-3, 1e-2]]),
        ("NoAttribute", {}, None, [], []),
    ],
)
def test_rates_of_the_groups_are_read(
    module: str,
    more: dict[str, Any],
    attribute: str | None,
    values: list[float],
    rates: list[list[float]],
) -> None:
    """Each value of the attribute has the rates before any schedule, or at a cycle's peak."""
    found = read(here(module), **more)
    assert ("fits", attribute, values) == (
        found["outcome"],
        found["attribute"],
        found["learning_rates"],
    )
    assert [pytest.approx(expected) for expected in rates] == found["rates"]


@pytest.mark.parametrize("module", ["zoo.Manual", "lr_sweep_workloads.NoRate"])
def test_optimizers_that_a_sweep_refuses_have_no_rates(module: str) -> None:
    """The sweep tells the reason."""
    assert [] == read(module)["rates"]


def test_attribute_that_was_named_must_exist() -> None:
    """A name that leads nowhere is an error, not a workload without a learning rate."""
    found = read(here("Head"), learning_rate_attr="config.lr")
    assert "no learning rate to set: looked for Head.config.lr" in found["detail"]
