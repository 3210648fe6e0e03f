"""Bounds with default and other values, and the bounds that a verdict finds broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.matrix.settings import BatchSizeBound, BoundsSettings, LearningRateBound

if TYPE_CHECKING:
    from harness.bounds.verdict import Verdict

BOUNDS = BoundsSettings()


def bounds(max_drop: float = 0.02, max_factor: float | None = None) -> BoundsSettings:
    """Return bounds with these limits; the defaults are those of gpu-profile."""
    return BoundsSettings(
        batch_size=BatchSizeBound(max_drop=max_drop),
        learning_rate=LearningRateBound(max_factor=max_factor),
    )


def bounds_of(verdict: Verdict) -> list[str]:
    """Return the names of the bounds that a verdict finds broken."""
    return [violation.bound for violation in verdict.violations]
