"""Calls the two pure entry points, as benchmarks and other tools do: checked by mypy, never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from harness.lr_range import Suggestion, suggest
from harness.measurement import Outcome
from harness.search import SearchResult, search


@dataclass
class Tried:
    """The least that a probe returns."""

    outcome: Outcome
    peak_memory_bytes: int | None = None


def probe(batch_size: int) -> Tried:
    """Fit up to 64 samples."""
    return Tried("fits" if batch_size <= 64 else "oom")


def find() -> None:
    """Search, and read the result."""
    result = search(probe, memory_limit_bytes=1 << 30, mode="exact", max_batch_size=128)
    assert_type(result, SearchResult[Tried])
    assert_type(result.max_batch_size, int)
    assert_type(result.probes, tuple[tuple[int, Tried], ...])

    search(probe, mode="guess")  # type: ignore[arg-type] # one of three modes
    search(lambda batch_size: batch_size)  # type: ignore[type-var] # no outcome


def rule() -> None:
    """Ask the learning-rate rule."""
    found = suggest([1e-3, 1e-2], [[1.0, None], [1.0, 0.5]])
    assert_type(found, Suggestion)
    assert_type(found.learning_rate, float | None)
    assert_type(found.refusal, str | None)
