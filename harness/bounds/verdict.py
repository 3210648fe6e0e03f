"""Holds the result of comparing a measurement with its locked profile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from harness.case_names import Scalar  # noqa: TC001 - the schema of report.json evaluates it

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.matrix.settings import Gain

Bound = Literal[
    "missing",
    "batch_size",
    "predicted_batch_size",
    "learning_rate",
    "throughput",
    "inference_batch_size",
    "bucket_batch_size",
    "fingerprint",
    "recipe",
    "gain",
]
"""The bounds that a measurement can break. `missing`: there is no locked value to compare with;
`gain`: a value is better than the locked one, and `bounds.gain` is `fail`.
"""


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

    def with_gains_as(self, gain: Gain) -> Verdict:
        """Turn each improvement into a violation where gains must not stay unlocked."""
        if gain == "note":
            return self
        gains = tuple(
            Violation("gain", None, None, None, f"{text}, and bounds.gain is fail: lock it")
            for text in self.improvements
        )
        return replace(self, violations=self.violations + gains, improvements=())
