"""Decides which values of a run are benchmarks, and which direction of each is the better one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.page.report_model import Case

Direction = Literal["bigger", "smaller"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One value of a case that can be followed from run to run."""

    name: str
    """As report.json calls it."""
    value: float
    unit: str
    better: Direction | None
    """None of a value that may move either way."""
    lower: float | None = None
    upper: float | None = None
    """Where the value could as well be; None where nothing tells."""


def benchmarks_of(case: Case) -> Iterator[Benchmark]:
    """Yield the benchmarks of a case; none of one in which nothing was found.

    The tuned batch is none: it follows from the largest by settings, and is no better when bigger.
    """
    if case.max_batch_size is None:
        return
    for name, size in _sizes(case):
        if size is not None:
            yield Benchmark(name, size, "samples", "bigger")
    if case.source == "measured":
        yield from _measured(case)


def _sizes(case: Case) -> Iterator[tuple[str, int | None]]:
    yield "predicted_batch_size", case.predicted_batch_size
    if case.source == "measured":
        yield "max_batch_size", case.max_batch_size
        # One that was not searched is the tuned batch again.
        if case.validation_batch_size != case.batch_size:
            yield "validation_batch_size", case.validation_batch_size
        for function, size in case.inference_batch_sizes.items():
            yield f"inference_batch_sizes.{function}", size
        for bucket in case.buckets:
            yield f"buckets.{bucket.edge:g}.max_batch_size", bucket.max_batch_size


def _measured(case: Case) -> Iterator[Benchmark]:
    if case.samples_per_second is not None:
        speed, spread = case.samples_per_second, case.samples_per_second_spread
        around = (None, None) if spread is None else (speed - spread, speed + spread)
        yield Benchmark("samples_per_second", speed, "samples/s", "bigger", *around)
    # Where memory is the bound, the peak is at the limit whatever the code does.
    if case.peak_memory_bytes is not None and case.bounded_by in ("cap", "dataset"):
        yield Benchmark("peak_memory_bytes", case.peak_memory_bytes, "bytes", "smaller")
    if case.learning_rate is not None:
        lowest, highest = (*case.learning_rate_range, None, None)[:2]
        yield Benchmark("learning_rate", case.learning_rate, "", None, lowest, highest)
