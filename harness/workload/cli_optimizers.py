"""Sets the learning rate of an optimizer that LightningCLI has made of a configuration.

The CLI puts it into the module's `configure_optimizers`, so no attribute of the module reaches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# What schedules keep in the groups of an optimizer, and in themselves.
_IN_GROUPS = ("lr", "initial_lr", "max_lr", "min_lr")
_IN_SCHEDULES = ("base_lrs", "max_lrs", "_last_lr")


def made_by_cli(module: Any) -> OptimizerRate | None:
    """Return the rate of the optimizer that a LightningCLI gave to a module; None without one."""
    configure = getattr(module, "__dict__", {}).get("configure_optimizers")
    made = getattr(getattr(configure, "__func__", None), "keywords", {})
    if not hasattr(made.get("optimizer"), "param_groups"):
        return None
    return OptimizerRate(made["optimizer"], made.get("lr_scheduler"))


class OptimizerRate:
    """The rate of the optimizer's largest group; the others keep their ratio to it."""

    shown = "the optimizer of the configuration"

    def __init__(self, optimizer: Any, schedule: Any) -> None:
        self._groups = optimizer.param_groups
        self._schedules = [*_all_of(schedule)]

    def get(self) -> Any:
        """Return the rate; that before the schedule's first step, where there is one."""
        return max(group.get("initial_lr", group["lr"]) for group in self._groups)

    def set(self, value: float) -> None:
        """Set the rate, and what schedules have derived from the one before."""
        before = self.get()

        def scaled(rate: Any) -> Any:
            return value if rate == before else rate * (value / before)

        for group in self._groups:
            for name in _IN_GROUPS:
                if name in group:
                    group[name] = scaled(group[name])
        for schedule in self._schedules:
            for name in _IN_SCHEDULES:
                if isinstance(rates := getattr(schedule, name, None), list):
                    rates[:] = [scaled(rate) for rate in rates]


def _all_of(schedule: Any) -> Iterator[Any]:
    """Yield a schedule, and those that it consists of."""
    if schedule is not None:
        yield schedule
        for part in getattr(schedule, "_schedulers", ()):
            yield from _all_of(part)
