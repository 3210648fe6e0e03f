"""A function of the user's that reads learning rates off sweeps, as a probe calls it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from harness.zygote.lr_strategy import read_sweeps

if TYPE_CHECKING:
    from pathlib import Path

    from harness.protocol.lr import StrategyResult
    from harness.protocol.messages import Failure

RULES = """
import numpy
import torch

def first(learning_rates, losses):
    assert (type(learning_rates), type(losses)) == (list, list)
    learning_rates.clear()
    return losses[0]

def scaled(learning_rates, losses, factor):
    return factor * learning_rates[0]

class Scaled:
    def __init__(self, factor):
        self.factor = factor
    def __call__(self, learning_rates, losses):
        return self.factor * learning_rates[0]

def of_numpy(learning_rates, losses):
    return numpy.float32(0.5)

def of_torch(learning_rates, losses):
    return torch.tensor(0.5)

def whole(learning_rates, losses):
    return 1

def none(learning_rates, losses):
    return None

def text(learning_rates, losses):
    return "0.1"

def flag(learning_rates, losses):
    return True

def two(learning_rates, losses):
    return [0.1, 0.2]

def raises(learning_rates, losses):
    raise LookupError("no")

def exits(learning_rates, losses):
    raise SystemExit(3)
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the rules, and return the name of their module."""
    (tmp_path / "strategy_rules.py").write_text(RULES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "strategy_rules", raising=False)
    return "strategy_rules"


def read(class_path: str, **init_args: Any) -> StrategyResult | Failure:
    """Read two sweeps of two steps."""
    return read_sweeps(
        {
            "task": "lr_strategy",
            "class_path": class_path,
            "init_args": init_args,
            "learning_rates": [0.25, 0.5],
            "losses_per_sweep": [[2.0, 1.0], [3.0]],
            "bound": {"accelerator": "cpu", "budget_bytes": 1},
            "trainer": {},
            "workload": None,
        },
        lambda _phase: None,
    )


@pytest.mark.parametrize(
    ("name", "init_args", "expected"),
    [
        ("first", {}, [2.0, 3.0]),
        ("scaled", {"factor": 2}, [0.5, 0.5]),
        ("Scaled", {"factor": 2}, [0.5, 0.5]),
        ("of_numpy", {}, [0.5, 0.5]),
        ("of_torch", {}, [0.5, 0.5]),
        ("whole", {}, [1.0, 1.0]),
        ("none", {}, [None, None]),
    ],
)
def test_each_sweep_is_read(
    rules: str, name: str, init_args: dict[str, Any], expected: list[float | None]
) -> None:
    """A function or an object of a class gets plain lists, and gives plain numbers or None."""
    assert {"outcome": "fits", "learning_rates": expected} == read(f"{rules}.{name}", **init_args)


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("text", "strategy_rules.text returned '0.1', of type str; a learning rate is needed"),
        ("flag", "strategy_rules.flag returned True, of type bool; a learning rate is needed"),
        ("two", "strategy_rules.two returned [0.1, 0.2], of type list; a learning rate is needed"),
        ("raises", "LookupError: no"),
        ("exits", "SystemExit: 3"),
        ("missing", "cannot import strategy_rules.missing: strategy_rules has no 'missing'"),
        ("scaled", "TypeError: scaled() missing 1 required positional argument: 'factor'"),
    ],
)
def test_what_goes_wrong_is_named(rules: str, name: str, detail: str) -> None:
    """The first line is the exception, or what it returned and what is needed."""
    result = read(f"{rules}.{name}")
    assert "error" == result["outcome"]
    assert "detail" in result
    assert result["detail"].removeprefix("HarnessError: ").startswith(detail)
