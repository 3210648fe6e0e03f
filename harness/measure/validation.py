"""Adds the validation batch size to a measurement, by a search where one is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search.sizes import Sizes, search_batch_sizes
from harness.batch_search.training import validate

if TYPE_CHECKING:
    from harness.measurement import Measurement, Probe
    from harness.probes.open_cases import OpenCase


def with_validation(opened: OpenCase, measurement: Measurement) -> Measurement:
    """Add the validation batch size: the result of its own search, or the tuned training batch."""
    settings, locked = opened.case.search, opened.locked
    if not opened.description.validation or settings.validation is False:
        return measurement
    if "trainer" in opened.description.workload:
        # A transformers.Trainer evaluates at the batch size that its arguments say, and no other.
        return measurement
    if settings.validation is True:
        return replace(measurement, validation_batch_size=measurement.batch_size)
    share = settings.validation_fraction / settings.target_memory_fraction

    def probe(batch_size: int, whole_epochs: bool) -> Probe:  # noqa: FBT001 - an `Attempt`
        return validate(
            opened, measurement.batch_size, batch_size, whole_epochs=whole_epochs, share=share
        )

    found = search_batch_sizes(
        opened,
        Sizes(
            minimum=settings.validation_minimum,
            maximum=settings.validation_maximum,
            num_samples=opened.description.num_validation_samples,
            locked=locked.validation_batch_size if locked else None,
            share=share,
            phase="search for validation",
        ),
        probe,
    )
    warnings = measurement.warnings
    if not found.max_batch_size:
        smallest = min(found.probes, key=lambda probe: probe.batch_size)
        tried = f"batch {smallest.batch_size}: {smallest.detail}"
        warnings += (f"no validation batch size was found ({found.bounded_by}): {tried}",)
    return replace(
        measurement,
        warnings=warnings,
        validation_batch_size=found.max_batch_size or None,
        probes=measurement.probes + found.probes,
    )
