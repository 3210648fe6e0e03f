"""Types the tasks of an LR range test, and of a timed loader, with their answers.

`harness.protocol` has the others.

It holds types alone, so it costs a probe's heap nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from typing_extensions import TypedDict

TellSteps = Callable[[int], None]
"""Called with the number of steps that are done."""


class SweepTask(TypedDict):
    """Train a new module, one optimizer step per learning rate: a sweep, or a trial at one rate."""

    task: Literal["lr_range"]
    batch_size: int
    learning_rates: list[float]
    """The rates of the largest group that follows the workload's learning rate."""
    seed: int
    learning_rate: float | None
    """The workload's learning rate, set before the Trainer asks for its optimizer; None: as is."""
    fixed_groups: list[int]
    """The groups that keep their own rate: they do not follow the workload's learning rate."""
    trial: bool
    """Whether no plateau tells divergence: a trial at one rate, or a sweep that goes on to its end.
    """
    ceiling: float | None
    """The loss above which such a one has diverged; None: only one that is not finite ends it."""
    whole_epochs: bool
    """Whether epochs end as the user's do, because the training keeps memory until then."""


class RatesTask(TypedDict):
    """Read the learning rates that `configure_optimizers` makes of values of the attribute."""

    task: Literal["rates"]
    batch_size: int
    learning_rates: list[float]
    """Values of the workload's learning rate; none: its own, and twice that."""


class LoadingTask(TypedDict):
    """Time the training loader alone and the training step alone, by turns."""

    task: Literal["loading"]
    batch_size: int
    num_workers: int
    rounds: int
    """The turns of each."""


class LoadingResult(TypedDict):
    """The answer to a LoadingTask that did not fail."""

    outcome: Literal["fits"]
    refusal: str | None
    """Why the loader cannot have so many workers; None where it has them."""
    step_seconds: list[float]
    """Of a batch, one number for each turn."""
    load_seconds: list[float]


class SweepResult(TypedDict):
    """The answer to a SweepTask that did not fail."""

    outcome: Literal["fits"]
    refusal: str | None
    """Why the curve must not be used; None where it may be."""
    raised: str | None
    """The exception that ended the training after its first step; None: it came to its end.

    Some workloads raise where others have a loss that is not finite, so this may be the rate's.
    """
    learning_rates: list[float]
    """The rates that the optimizer used; fewer than requested when the loss diverged."""
    losses: list[float]


class RatesResult(TypedDict):
    """The answer to a RatesTask that did not fail."""

    outcome: Literal["fits"]
    attribute: str | None
    """Where the learning rate was set, such as `Net.lr`; None: no attribute holds it."""
    learning_rates: list[float]
    """The values of the attribute."""
    rates: list[list[float]]
    """For each of them, the rate of every group; none where a sweep will refuse the optimizer."""


class StrategyTask(TypedDict):
    """Call a function of the user's with each sweep: it reads a learning rate off it."""

    task: Literal["lr_strategy"]
    class_path: str
    init_args: dict[str, Any]
    learning_rates: list[float]
    losses_per_sweep: list[list[float]]


class StrategyResult(TypedDict):
    """The answer to a StrategyTask that did not fail."""

    outcome: Literal["fits"]
    learning_rates: list[float | None]
    """What it returned for each sweep; None: it refuses."""


LrTask = SweepTask | RatesTask | LoadingTask | StrategyTask
LrResult = SweepResult | RatesResult | LoadingResult | StrategyResult


class Progress(TypedDict):
    """A sweep has done some of its steps."""

    event: Literal["progress"]
    steps: int
