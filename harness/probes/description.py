"""The description of a workload, by a probe that sets it up and trains nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.protocol.messages import DescribeResult


@dataclass(frozen=True)
class Description:
    """The facts about a workload that is set up."""

    workload: dict[str, Any]
    """The facts that make up the fingerprint."""
    fingerprint: str
    num_samples: int | None
    """Samples in a rank's pass over the training data; None where only a pass tells."""
    num_validation_samples: int | None
    validation: bool
    """Whether the training validates."""
    synthetic: bool
    """Whether the data are synthetic: nothing can be learned from them."""
    num_workers: int
    """Processes that load the training data."""
    torch_settings: dict[str, Any] = field(default_factory=dict)
    """Global settings of torch that the building of the workload has changed."""
    sources: str | None = None
    """A digest of the code that a probe runs; None where that cannot be told."""

    @classmethod
    def of(cls, result: DescribeResult, num_ranks: int = 1) -> Description:
        """Return the description that a probe gave.

        num_ranks: each has its share of the samples, rounded up as a DistributedSampler does.
        """

        def share(number: int | None) -> int | None:
            return None if number is None else -(-number // num_ranks)

        return cls(
            workload=result["workload"],
            fingerprint=result["fingerprint"],
            num_samples=share(result["num_samples"]),
            num_validation_samples=share(result["num_validation_samples"]),
            validation=result["validation"],
            synthetic=result["synthetic"],
            num_workers=result["num_workers"],
            torch_settings=result["torch_settings"],
            sources=result["sources"],
        )
