"""Renders how fast the timed batch sizes of a case train: a line, and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import words
from harness.units import format_around, format_bytes, format_speed, format_spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measurement import Measurement, Speed

HEADINGS = ("batch", "samples/s", "±", "rounds", "peak")
"""The columns of the table."""


def speed_line(measurement: Measurement) -> str | None:
    """Return how the tuned batch compares with the fastest and the largest; None if not timed."""
    tuned = _at(measurement.speeds, measurement.batch_size)
    others = [one for one in measurement.speeds if one is not tuned]
    if tuned is None or not others:
        return None
    best = max(measurement.speeds, key=lambda speed: speed.samples_per_second)
    largest = measurement.speeds[-1]
    text = f"batch {tuned.batch_size} trains {_shown(tuned)} samples/s"
    if tuned.batch_size < largest.batch_size:
        text += f"; batch {largest.batch_size}, the largest, {_shown(largest)}"
    if best not in (tuned, largest):
        text += f"; batch {best.batch_size} {_shown(best)}"
    slower = [one for one in others if one.batch_size < tuned.batch_size]
    if slower:
        text += f"; batch {slower[-1].batch_size} {_shown(slower[-1])}"
    return text


def speed_rows(measurement: Measurement) -> list[tuple[str, ...]]:
    """Return the cells of the table, a row for each batch size."""
    return [
        (
            f"{speed.batch_size}{' (tuned)' if speed.batch_size == measurement.batch_size else ''}",
            format_speed(speed.samples_per_second),
            words.MISSING
            if speed.samples_per_second_spread is None
            else format_spread(speed.samples_per_second_spread),
            str(speed.num_rounds),
            words.MISSING
            if speed.peak_memory_bytes is None
            else format_bytes(speed.peak_memory_bytes),
        )
        for speed in measurement.speeds
    ]


def _at(speeds: Sequence[Speed], batch_size: int) -> Speed | None:
    return next((speed for speed in speeds if speed.batch_size == batch_size), None)


def _shown(speed: Speed) -> str:
    return format_around(speed.samples_per_second, speed.samples_per_second_spread)
