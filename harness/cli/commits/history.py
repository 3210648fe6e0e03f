"""The verb `gpu-profile history`: lists the commits that changed a case, and what they changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from harness.cli.answers.answer import Answer
from harness.cli.commits.documents import history_document
from harness.cli.common import say, say_aside
from harness.cli.lockfile import change_lines
from harness.lock_history.case_changes import case_history
from harness.lock_history.revisions import read_history
from harness.report.words import MISSING, learning_rate, place
from harness.units import format_bytes
from harness.visible import cut, one_line
from harness.wording import shown_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from harness.lock_history.case_changes import CaseChange, CaseHistory
    from harness.lock_history.revisions import LockHistory, Revision
    from harness.lockfile.diff import Difference
    from harness.run.paths import Paths

_SHOWN_HASH = 10
_SHOWN_AUTHOR = 20
_SHOWN_SUBJECT = 60
_UNCOMMITTED = "not committed"


def history(options: argparse.Namespace, paths: Paths) -> Answer:
    """Print the changes of a case, the newest first, and what of its history cannot be read."""
    whole = read_history(paths.lock)
    found = case_history(whole, options.case)
    number = len(found.changes)
    say(
        f"{options.case}: {number} change{'s' * (number != 1)} in the history of "
        f"{shown_path(whole.path)}\n"
    )
    rows = [row for change in found.changes for row in _rows(change)]
    if len({row["device"] for row in rows}) == 1:
        for row in rows:
            del row["device"]
    say(tabulate(rows, headers="keys", disable_numparse=True))
    for change in found.changes:
        if lines := list(_details(change)):
            title = f"{commit(change.revision)}  {cut(change.revision.subject)}".rstrip()
            say("\n".join(["", title, *lines]))
    for note in _notes(whole, found):
        say_aside(f"note: {note}")
    return Answer(0, history_document(whole, found, options.case, shown_path(whole.path)))


def commit(revision: Revision) -> str:
    """Return the beginning of a revision's hash, as people write it."""
    return _UNCOMMITTED if revision.commit is None else revision.commit[:_SHOWN_HASH]


def _rows(change: CaseChange) -> Iterator[dict[str, Any]]:
    for difference in change.differences:
        revision = change.revision
        yield {
            "commit": commit(revision),
            "date": MISSING if revision.date is None else revision.date.date().isoformat(),
            "author": _shortened(revision.author, _SHOWN_AUTHOR),
            "device": place(difference.profile.device, {}),
            **_values(difference),
            "subject": _shortened(revision.subject, _SHOWN_SUBJECT),
        }


def _values(difference: Difference) -> dict[str, Any]:
    names = ("max batch", "batch", "LR", "peak", "torch")
    if difference.kind == "removed":
        return dict.fromkeys(names, MISSING) | {"max batch": "removed"}
    profile = difference.profile
    predicted = profile.source == "predicted"
    versions = profile.predicted_with if predicted else profile.made_with
    peak = profile.peak_memory_bytes
    values = (
        f"{'~' if predicted else ''}{profile.max_batch_size}",
        profile.batch_size,
        learning_rate(profile.learning_rate),
        MISSING if peak is None else format_bytes(peak),
        one_line(versions.get("torch", MISSING)),
    )
    return dict(zip(names, values, strict=True))


def _details(change: CaseChange) -> Iterator[str]:
    if change.renamed_from is not None:
        yield f"  renamed from {change.renamed_from}"
    several = len(change.differences) > 1
    for difference in change.differences:
        if several:
            yield f"  on {place(difference.device, {})}: {difference.kind}"
        if difference.changes:
            yield from change_lines(difference.changes)


def _shortened(text: str, length: int) -> str:
    return one_line(text if len(text) <= length else f"{text[: length - 1]}…") or MISSING


def _notes(whole: LockHistory, found: CaseHistory) -> Iterator[str]:
    for revision in found.unread:
        yield f"{commit(revision)} is left out: {revision.problem}"
    yield from whole.notes
