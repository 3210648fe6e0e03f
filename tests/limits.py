"""Bounds with values of the tests' own, and what a verdict finds of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.bounds import Verdict


@dataclass(frozen=True)
class BatchSize:
    """The bound on the batch size alone."""

    max_drop: float = 0.02


@dataclass(frozen=True)
class LearningRate:
    """The bound on the learning rate alone."""

    max_factor: float = 2.0


@dataclass(frozen=True)
class Limits:
    """Bounds with the default values."""

    batch_size: BatchSize = BatchSize()
    learning_rate: LearningRate = LearningRate()


BOUNDS = Limits()


def bounds_of(verdict: Verdict) -> list[str]:
    """Return which bounds a verdict finds violated."""
    return [violation.bound for violation in verdict.violations]
