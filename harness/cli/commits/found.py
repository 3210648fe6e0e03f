"""The result of a bisection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.cli.elsewhere.growth import grown, other_changes

if TYPE_CHECKING:
    from harness.bounds.predicted import Growth
    from harness.cli.elsewhere.answers import CaseAnswer
    from harness.git.bisection import CommitInfo


@dataclass
class Found:
    """What a bisection has found."""

    good: CommitInfo
    """The last commit before the first bad one that is known to be good."""
    at_good: CaseAnswer
    first_bad: list[CommitInfo]
    """The first bad commit; several where commits between them could not be predicted.

    The first of them is the earliest that is known to be bad.
    """
    at_bad: CaseAnswer
    threshold: int
    """A largest batch below it is bad."""
    skipped: dict[str, str] = field(default_factory=dict)
    """The reason by the hash of each commit that could not be predicted."""
    predictions: int = 0

    def changes(self) -> list[str]:
        """Return what else differs between the two sides; nothing where several are left."""
        return [] if len(self.first_bad) > 1 else other_changes(self.at_good, self.at_bad)

    def grown(self) -> list[Growth]:
        """Return what holds more memory at the peak of the good side's largest batch."""
        return grown(self.at_good["wanted"], self.at_bad["wanted"])
