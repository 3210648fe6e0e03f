"""Calls a function of the user's that reads a learning rate off a sweep.

It runs in a probe, as all code of the user's does, and not in pytest's process. Nothing is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.failures.explain import explain
from harness.workload.build import arguments, locate

if TYPE_CHECKING:
    from harness.protocol.lr import StrategyResult
    from harness.protocol.messages import Failure, StrategyRequest, TellPhase

_WANTED = "a learning rate is needed, a number above 0, or None to refuse"


def read_sweeps(request: StrategyRequest, tell: TellPhase) -> StrategyResult | Failure:
    """Return what the function reads off each sweep, or the failure of the first that it raises.

    A function gets the learning rates and the losses of one sweep, then its `init_args` by name. A
    class is called with these first, and its object with the sweep.
    """
    tell("setup")
    try:
        target: Any = locate(request["class_path"])
        init_args = arguments(request["init_args"])
        if isinstance(target, type):
            target, init_args = target(**init_args), {}
        rates, sweeps = request["learning_rates"], request["losses_per_sweep"]
        # Lists of its own: what it does to them must not reach the next call.
        found = [
            _as_rate(request["class_path"], target(list(rates), losses, **init_args))
            for losses in sweeps
        ]
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is the answer
        return explain(error)
    return {"outcome": "fits", "learning_rates": found}


def _as_rate(class_path: str, value: Any) -> float | None:
    """Return what the function gave, as a plain number. Raises HarnessError for anything else."""
    if value is None:
        return None
    kind = type(value)
    # A number of numpy and a tensor of one element have it, too; a text has not.
    if isinstance(value, bool) or not hasattr(kind, "__float__"):
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        raise HarnessError(f"{class_path} returned {value!r:.60}, of type {name}; {_WANTED}")
    return float(value)
