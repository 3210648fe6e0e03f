"""Predicts the batch sizes of validate, test and predict alone, on a simulated GPU."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.batch_search.inference import search_inference, warnings_of
from harness.predict.safe import safe_batch_size

if TYPE_CHECKING:
    from harness.measurement import Probe
    from harness.probes.open_cases import OpenCase


@dataclass(frozen=True)
class Inferred:
    """What is predicted for the functions of `search.inference`."""

    sizes: dict[str, int] = field(default_factory=dict)
    """Batch sizes to use before any measurement: below the predicted largest ones."""
    probes: tuple[Probe, ...] = ()
    notes: tuple[str, ...] = ()


def predict_inference(opened: OpenCase) -> Inferred:
    """Search the largest batch of each function that the case asks for.

    Raises WorkloadError where the workload has no loader or no step for one.
    """
    sizes: dict[str, int] = {}
    probes: tuple[Probe, ...] = ()
    notes: tuple[str, ...] = ()
    for function in opened.case.search.inference:
        found = search_inference(opened, function)
        largest = found.max_batch_size
        if largest:
            sizes[function] = safe_batch_size(largest)
            notes += (f"batch {largest} of {function} is predicted; {sizes[function]} is safe",)
        # Nothing was computed, so its speed is not one.
        probes += tuple(replace(probe, samples_per_second=None) for probe in found.probes)
        notes += warnings_of(function, found)
    return Inferred(sizes, probes, notes)
