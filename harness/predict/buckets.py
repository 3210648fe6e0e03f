"""Predicts the batch size of each bucket of lengths, on a simulated GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.batch_search.buckets import FoundBuckets, search_buckets
from harness.predict.safe import safe_batch_size

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.predict.prediction import Prediction
    from harness.probes.open_cases import OpenCase


def predict_buckets(opened: OpenCase, prediction: Prediction) -> FoundBuckets:
    """Search every bucket, and train all in turn at sizes that are safe before any measurement.

    Nothing is found where the case has no buckets, or nothing fits.
    """
    case = opened.case
    if not case.buckets or not prediction.max_batch_size:
        return FoundBuckets((), ())
    if opened.locked is not None and opened.locked.source != "predicted":
        opened = replace(opened, locked=None)  # its sizes are measured

    def use(found: FoundBatch) -> int:
        if found is prediction.found:
            return case.search.tuned(prediction.safe_batch_size)
        largest = found.max_batch_size
        bounded = found.bounded_by in ("cap", "dataset")
        return case.search.tuned(largest if bounded else safe_batch_size(largest))

    found = search_buckets(opened, prediction.found, use)
    # Nothing was computed, so its speed is not one.
    probes = tuple(replace(probe, samples_per_second=None) for probe in found.probes)
    return replace(found, probes=probes)
