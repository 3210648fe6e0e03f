"""Reads the learning rates that a workload's optimizer gets from values of its attribute.

The Trainer, the data and the batch size are those of a training. Nothing is trained.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.failures.explain import explain
from harness.memory_bounds import make_bound, no_bound
from harness.probe_tasks.trainer import (
    FitWatch,
    make_callback,
    make_trainer,
    prepare,
    seed_everything,
)
from harness.workload import attributes
from harness.workload.schedules import configured_rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.protocol.lr import RatesResult
    from harness.protocol.messages import Failure, RatesRequest, TellPhase
    from harness.workload.build import Workload

# The value that is tried where the attribute holds no positive number, such as None.
_USUAL = 1e-3


class _Arrived(Exception):  # noqa: N818 - not an error: the rates are read
    """Ends a fit before it trains."""


class _ReadAtStart(FitWatch):
    def __init__(self, values: list[float], set_value: Callable[[float], None]) -> None:
        super().__init__()
        self.values = values
        self.set_value = set_value
        self.rates: list[list[float]] = []

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Read the rates of the optimizer that the Trainer has asked for, then of further ones."""
        if not module.automatic_optimization or not self._read(trainer):
            raise _Arrived
        # A second call may fail where a first one would not: the next probe begins with its value.
        with suppress(Exception):
            for value in self.values[1:]:
                self.set_value(value)
                trainer.strategy.setup_optimizers(trainer)
                self._read(trainer)
        raise _Arrived

    def _read(self, trainer: Any) -> bool:
        """Keep the rates; return whether there is one optimizer that is given its rates."""
        if len(trainer.optimizers) != 1:
            return False
        schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
        rates = configured_rates(trainer.optimizers[0], schedules)
        given = [rate for rate in rates if rate is not None]
        if len(given) == len(rates):
            self.rates.append(given)
        return len(given) == len(rates)


def group_rates(
    workload: Workload, request: RatesRequest, tell: TellPhase
) -> RatesResult | Failure:
    """Return the rates of each group for values of the attribute, or the failure of its set-up."""
    tell("setup")
    seed_everything()
    module, datamodule, name = (
        workload.module,
        workload.datamodule,
        workload.spec["learning_rate_attr"],
    )
    try:
        make_bound(request["bound"]).start()
        places = attributes.learning_rate_places(module, datamodule, attr=name)
        if not places and name is None:
            return {"outcome": "fits", "attribute": None, "learning_rates": [], "rates": []}
        values = request["learning_rates"]
        if not values:
            own = attributes.get_learning_rate(module, datamodule, attr=name)
            usable = isinstance(own, float | int) and not isinstance(own, bool) and own > 0
            first = float(own) if usable else _USUAL
            values = [first, 2 * first]

        def set_value(value: float) -> None:
            attributes.set_learning_rate(module, datamodule, value, attr=name)

        set_value(values[0])
        watch = make_callback(workload.lightning, _ReadAtStart, values, set_value)
        # The set-up runs on the CPU, whatever the case's device.
        bound = no_bound()
        trainer = make_trainer(workload, bound, request["trainer"], callbacks=[watch])
        prepare(workload, trainer, bound, request["batch_size"], worst_case=False)
        with suppress(_Arrived):
            trainer.fit(module, datamodule=datamodule)
    except BaseException as error:  # noqa: BLE001 - whatever the user's set-up raises is the answer
        return explain(error)
    return {
        "outcome": "fits",
        "attribute": places[0],
        "learning_rates": values[: len(watch.rates)],
        "rates": watch.rates,
    }
