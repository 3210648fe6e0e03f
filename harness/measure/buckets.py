"""Adds the batch size of each bucket of lengths, where the model has buckets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search.buckets import search_buckets

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.measurement import Measurement
    from harness.probes.open_cases import OpenCase


def with_buckets(
    opened: OpenCase, measurement: Measurement, last: FoundBatch, *, repeat: bool
) -> Measurement:
    """Add the sizes of all buckets, and make the tuned batch that of the last one among them.

    last, repeat: as in `search_buckets`.
    """
    case = opened.case
    if not case.buckets or not last.max_batch_size:
        return measurement
    tuned = case.search.tuned
    found = search_buckets(opened, last, lambda one: tuned(one.max_batch_size), repeat=repeat)
    return replace(
        measurement,
        batch_size=found.buckets[-1].batch_size,
        buckets=found.buckets,
        probes=measurement.probes + found.probes,
        warnings=measurement.warnings + found.warnings,
    )
