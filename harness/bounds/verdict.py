"""Holds the result of comparing a measurement with its locked profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.case_names import Scalar

Bound = Literal[
    "missing",
    "batch_size",
    "predicted_batch_size",
    "learning_rate",
    "throughput",
    "inference_batch_size",
    "fingerprint",
    "recipe",
]
"""The bounds that a measurement can break. `missing`: there is no locked value to compare with."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One bound that a measurement breaks."""

    bound: Bound
    locked: Scalar | None
    measured: Scalar | None
    allowed: Scalar | None
    message: str
    """One line: the values, what was allowed, the likely cause."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of comparing a measurement with its locked profile."""

    violations: tuple[Violation, ...] = ()
    improvements: tuple[str, ...] = ()
    """Gains beyond the bounds; a new lock would hold more."""
    warnings: tuple[str, ...] = ()

    @classmethod
    def combined(cls, parts: Collection[Verdict]) -> Verdict:
        """Join the verdicts on single values into one."""
        return cls(
            tuple(violation for part in parts for violation in part.violations),
            tuple(improvement for part in parts for improvement in part.improvements),
            tuple(warning for part in parts for warning in part.warnings),
        )
