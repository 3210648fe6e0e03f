"""Adds the batch sizes of validate, test and predict alone, where `search.inference` asks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search.inference import search_inference, warnings_of

if TYPE_CHECKING:
    from harness.measurement import Measurement
    from harness.probes.open_cases import OpenCase


def with_inference(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add the largest batch of each function that the case asks for.

    Raises WorkloadError where the workload has no loader or no step for one.
    """
    found: dict[str, int] = {}
    for function in opened.case.search.inference:
        result = search_inference(opened, function)
        if result.max_batch_size:
            found[function] = result.max_batch_size
        measurement = replace(
            measurement,
            probes=measurement.probes + result.probes,
            warnings=measurement.warnings + warnings_of(function, result),
        )
    return replace(measurement, inference_batch_sizes=found)
