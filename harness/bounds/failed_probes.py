"""Chooses the failed probe that tells most about why no larger batch trains."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.measurement import Measurement, Probe

# Batch normalization refuses a batch of one sample with these words: no fault of the training.
_ONE_SAMPLE = "Expected more than 1 value per channel"
_NUMBERS = re.compile(r"\d+")


def telling_failure(measurement: Measurement) -> Probe | None:
    """Return the failed probe to show, of a batch above the largest that fits; None without one.

    It is that of the smallest batch, which bounds the search. Where nothing trains, an error of a
    larger batch tells more than another one of a batch of one sample, which is a case of its own:
    dimensions vanish in it, and nothing has to be collated. An error also tells more than memory
    or data that do not suffice.
    """
    failed = sorted(
        (
            probe
            for probe in measurement.probes
            if probe.kind == "train"
            and probe.outcome != "fits"
            and probe.batch_size > measurement.max_batch_size
        ),
        key=lambda probe: probe.batch_size,
    )
    if not failed or measurement.max_batch_size:
        return failed[0] if failed else None
    smallest, *larger = failed
    errors = [probe for probe in larger if probe.outcome == "error"]
    if smallest.outcome == "error":
        if smallest.batch_size > 1:
            return smallest
        if errors:
            return smallest if _same(smallest, errors[0]) else errors[0]
        return larger[0] if larger and _ONE_SAMPLE in (smallest.detail or "") else smallest
    return errors[0] if errors else smallest


def _same(one: Probe, other: Probe) -> bool:
    """Return whether two probes failed alike, apart from numbers, which may be batch sizes."""
    return _kind(one) == _kind(other)


def _kind(probe: Probe) -> tuple[str | None, str]:
    return probe.phase, _NUMBERS.sub("", probe.detail or "")
