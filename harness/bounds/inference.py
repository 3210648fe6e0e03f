"""Judges the batch sizes of validate, test and predict alone by the locked ones. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.bounds.further_sizes import FurtherSize, judge_size
from harness.bounds.sizes import noise_of
from harness.bounds.verdict import Verdict

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement


def judge_inference(measurement: Measurement, locked: LockedProfile, max_drop: float) -> Verdict:
    """Judge what is locked for each function by `bounds.batch_size.max_drop`, as training's is.

    A function that `search.inference` names no more is a change of the recipe, and judged there.
    """
    same_recipe = measurement.recipe == locked.recipe
    return Verdict.combined(
        [
            judge_size(
                FurtherSize(
                    "inference_batch_size",
                    function,
                    size,
                    measurement.inference_batch_sizes.get(function, 0),
                    noise_of(locked, size),
                ),
                measurement,
                locked,
                max_drop,
            )
            for function, size in locked.inference_batch_sizes.items()
            if function in measurement.inference_batch_sizes or same_recipe
        ]
    )
