"""Finds the value of a workload's attribute that makes the learning rate which a sweep suggests.

The lock holds this value, because `apply` sets the attribute.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.lr_range.rate_map import relate, shown

if TYPE_CHECKING:
    from harness.lr_range.rate_map import RateMap
    from harness.measurement import Measurement
    from harness.probes.runner import ProbeRunner

_FIXED = (
    "{} of {} groups of the optimizer keep learning rates of their own ({}), whatever {} is: the "
    "sweeps left them as they are"
)


def find_rate_map(runner: ProbeRunner, batch_size: int) -> RateMap | str | None:
    """Return how the optimizer's rates at a batch size depend on the attribute.

    None where no attribute holds a learning rate, or where the sweeps will refuse the optimizer: a
    sweep then scales all groups. A text is the reason why no value of the attribute would make the
    rates of a sweep.
    """
    found = runner.group_rates(batch_size)
    if found.failure is None and len(found.rates) == 1:
        # `configure_optimizers` cannot be called twice in one process.
        more = runner.group_rates(batch_size, (2 * found.values[0],))
        found = replace(
            found,
            values=found.values + more.values,
            rates=found.rates + more.rates,
            failure=more.failure,
        )
    if found.failure is not None:
        return f"reading the learning rates of the optimizer {found.failure}"
    if found.attribute is None or not found.rates:
        return None
    return relate(found.attribute, found.values, found.rates)


def confirmed(
    runner: ProbeRunner, measurement: Measurement, rate_map: RateMap | None
) -> Measurement:
    """Set the attribute in a fresh module, as `apply` does, and read what the optimizer gets.

    Where that is not what the sweeps measured, the measurement has the refusal in its place.
    """
    value = measurement.learning_rate
    if value is None or rate_map is None:
        return measurement
    found = runner.group_rates(measurement.batch_size, (value,))
    refusal = (
        f"reading the learning rates of the optimizer with {rate_map.attribute} at {value:.4g} "
        f"{found.failure}"
        if found.failure is not None
        else rate_map.contradiction(value, found.rates[0] if found.rates else ())
    )
    if refusal is not None:
        return replace(
            measurement,
            learning_rate=None,
            learning_rates=(),
            learning_rate_range=(),
            group_learning_rates=(),
            lr_horizon=None,
            lr_refusal=refusal,
        )
    rates = rate_map.rates_at(value)
    largest = value * (rate_map.largest / rate_map.value)
    fixed = [rates[number] for number in rate_map.fixed_groups]
    note = _FIXED.format(len(fixed), len(rates), shown(fixed), rate_map.attribute)
    return replace(
        measurement,
        group_learning_rates=rate_map.different_at(value),
        largest_learning_rate=None if math.isclose(largest, value, rel_tol=1e-3) else largest,
        warnings=(*measurement.warnings, *((note,) if fixed else ())),
    )
