"""The JSON documents of `gpu-profile history` and `gpu-profile bisect`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from harness.cli.elsewhere.growth import GrownHolderData, grown_data
from harness.cli.lock_documents import DifferenceData, difference_data

if TYPE_CHECKING:
    from harness.cli.commits.found import Found
    from harness.git.bisection import CommitInfo
    from harness.lock_history.case_changes import CaseHistory
    from harness.lock_history.revisions import LockHistory


class CaseChangeData(TypedDict):
    """A commit that changed the profiles of a case, or what is not committed."""

    commit: str | None
    """The full hash; null for what is not committed."""
    date: str | None
    """When it was committed, in UTC, as ISO 8601; null for what is not committed."""
    author: str
    subject: str
    renamed_from: str | None
    """The id that the case had before; null if it was the same, or if there was none."""
    differences: list[DifferenceData]
    """One for each device."""


class UnreadRevisionData(TypedDict):
    """A commit whose lockfile cannot be read."""

    commit: str | None
    """The full hash; null for what is not committed."""
    problem: str


class HistoryDocument(TypedDict):
    """The answer of `history`."""

    case: str
    lock: str
    """The path of the lockfile."""
    changes: list[CaseChangeData]
    """The newest first."""
    left_out: list[UnreadRevisionData]
    """The change after each of them shows what both have changed."""
    notes: list[str]
    """What of the history is not here, and why."""


class RevisionData(TypedDict):
    """A commit of a bisection."""

    commit: str
    """The full hash."""
    date: str
    """When it was committed, in UTC, as ISO 8601."""
    author: str
    subject: str
    max_batch_size: int | None
    """The predicted largest batch; null where it could not be predicted."""
    problem: str | None
    """Why it could not be predicted."""


class BisectDocument(TypedDict):
    """The answer of `bisect`."""

    case: str
    gpu: str
    """The label of the GPU that it is predicted for."""
    torch: str
    threshold: int
    """A largest batch below it is bad."""
    good: RevisionData
    """The last commit before the first bad one that is known to be good."""
    first_bad: list[RevisionData]
    """One; several where commits between them could not be predicted."""
    predictions: int
    """How many commits were predicted, or tried."""
    changes: list[str]
    """What else differs between the two: settings of the case, and parts of its workload."""
    grown: list[GrownHolderData]
    """The largest growth first; empty where several commits are left."""


def history_document(
    whole: LockHistory, found: CaseHistory, case: str, path: str
) -> HistoryDocument:
    """Return the history of a case as its document has it."""
    return {
        "case": case,
        "lock": path,
        "changes": [
            {
                "commit": one.revision.commit,
                "date": None if one.revision.date is None else one.revision.date.isoformat(),
                "author": one.revision.author,
                "subject": one.revision.subject,
                "renamed_from": one.renamed_from,
                "differences": [difference_data(other) for other in one.differences],
            }
            for one in found.changes
        ],
        "left_out": [{"commit": one.commit, "problem": one.problem or ""} for one in found.unread],
        "notes": list(whole.notes),
    }


def bisect_document(case: str, found: Found) -> BisectDocument:
    """Return what a bisection has found as its document has it."""
    bad = found.at_bad["max_batch_size"]
    return {
        "case": case,
        "gpu": found.at_bad["gpu"],
        "torch": found.at_bad["torch"],
        "threshold": found.threshold,
        "good": _revision(found.good, found.at_good["max_batch_size"], None),
        "first_bad": [
            _revision(one, None if one.name in found.skipped else bad, found.skipped.get(one.name))
            for one in found.first_bad
        ],
        "predictions": found.predictions,
        "changes": found.changes(),
        "grown": grown_data(found.grown()),
    }


def _revision(commit: CommitInfo, batch_size: int | None, problem: str | None) -> RevisionData:
    return {
        "commit": commit.name,
        "date": commit.date.isoformat(),
        "author": commit.author,
        "subject": commit.subject,
        "max_batch_size": batch_size,
        "problem": problem,
    }
