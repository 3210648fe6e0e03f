"""Renders the comment on a pull request: the table, what failed, and what holds more memory.

All of a report may come from a stranger. Each text is shortened and escaped, no line begins with
one (GitLab obeys `/close` at a line's start), and the whole fits GitHub's limit.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from harness.report import words
from harness.report.markdown import code, escape, fence
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.pull_request.reported import Grown, Reported

LIMIT = 65_536
"""GitHub refuses a longer comment, in characters; GitLab allows a million."""

# What people read in a conversation; the run's page has all of it.
_MAX_ROWS = 100
_MAX_SECTIONS = 20
_MAX_GROWN = 6
_MAX_REASONS = 3
_MAX_TEXT = 400
_MAX_ID = 120
# For the marker, and for the sentences behind the table.
_RESERVE = 4_000
_HEADINGS = ("case", "max batch", "change", "LR", "peak", "status")
_RULE = (":--", "--:", "--:", "--:", "--:", ":--")


class RunLink(NamedTuple):
    """The run that a comment tells of."""

    commit: str
    """Empty where it is not known."""
    url: str
    """The page of the run; empty where there is none."""


def render_comment(label: str, cases: Sequence[Reported], run: RunLink) -> str:
    """Return a comment as Markdown, without its marker.

    cases: as `read_reports` returns them, those that failed first.
    """
    counts = Counter(one.status for one in cases)
    told = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    text = f"### GPU profiles{f': {_short(label)}' if label else ''}\n\n{told or 'No case ran.'}\n"
    found = [one for one in cases if one.status != "skipped"]
    rows = [_row(one) for one in found]
    sections = [part for one in found if (part := _section(one))]
    room = LIMIT - _RESERVE - len(text)
    # What failed stands first in both, so half of the room for the table leaves out what passed.
    shown_rows = _fitting(rows[:_MAX_ROWS], room // 2)
    shown_sections = _fitting(sections[:_MAX_SECTIONS], room // 2)
    if shown_rows:
        heads = "\n".join(f"| {' | '.join(line)} |" for line in (_HEADINGS, _RULE))
        text += f"\n{heads}\n" + "\n".join(shown_rows) + "\n"
    left_out = [
        f"{words.count(number, what)} more"
        for number, what in (
            (len(rows) - len(shown_rows), "row"),
            (len(sections) - len(shown_sections), "explanation"),
        )
        if number
    ]
    text += "".join(f"\n{part}\n" for part in (*shown_sections, *_skipped(cases)))
    if left_out:
        text += f"\nLeft out here: {' and '.join(left_out)}. report.md of the run has them all.\n"
    return f"{text}{_ending(run)}"


def render_missing(label: str, run: RunLink) -> str:
    """Return the comment of a run that has left no report, in place of an older one's values."""
    name = f": {_short(label)}" if label else ""
    return (
        f"### GPU profiles{name}\n\nThe run left no report: it ended before any case did. Its log "
        f"says why.\n{_ending(run)}"
    )


def _row(one: Reported) -> str:
    batch = words.MISSING
    if one.max_batch_size is not None:
        batch = f"{'~' * one.predicted}{one.max_batch_size}"
    change = words.MISSING
    if one.max_batch_size is not None:
        known = one.locked_batch_size
        change = words.relative_change(one.max_batch_size, known) if known else "new"
    rate = words.learning_rate(one.learning_rate)
    if one.learning_rate is None and one.lr_refused:
        rate = "refused"
    peak = words.MISSING
    if one.peak_bytes is not None and one.limit_bytes:
        peak = f"{one.peak_bytes / one.limit_bytes:.1%}"
    status = f"**{one.status}**" if one.status in ("failed", "error") else one.status
    cells = [_name(one), *map(escape, (batch, change, rate, peak)), status]
    return f"| {' | '.join(cells)} |"


def _section(one: Reported) -> str:
    """Return why a case failed, what holds more memory, and how to accept what was found."""
    if one.status in ("failed", "error"):
        parts = [f"**{one.status}** {_name(one)}: {_short(one.headline)}"]
        if one.grown:
            parts.append(_grown_table(one.grown))
        if one.status == "failed" and one.update_command:
            parts.append(_folded("accept these values", one.update_command))
        return "\n\n".join(parts)
    if one.improvements:
        better = f"better than locked: {_name(one)}: {_short('; '.join(one.improvements))}"
        return f"{better}\n\n{_folded('lock these values', one.update_command)}"
    return ""


def _grown_table(grown: Sequence[Grown]) -> str:
    lines = [
        "| holds more memory at the peak | locked | now | more | line |",
        "| :-- | --: | --: | --: | :-- |",
    ]
    for one in grown[:_MAX_GROWN]:
        then = f"{'at most ' * one.at_most}{format_bytes(one.then_bytes)}"
        more = format_bytes(max(one.now_bytes - one.then_bytes, 0))
        line = _short(one.line)
        cells = (_short(one.holder), then, format_bytes(one.now_bytes), f"+{more}", line)
        lines.append(f"| {' | '.join(cells)} |")
    if len(grown) > _MAX_GROWN:
        lines.append(f"\nand {words.count(len(grown) - _MAX_GROWN, 'other')}")
    return "\n".join(lines)


def _folded(title: str, command: str) -> str:
    cut = command if len(command) <= _MAX_TEXT else f"{command[:_MAX_TEXT]}…"
    return f"<details><summary>{title}</summary>\n\n{fence(' '.join(cut.split()))}\n\n</details>"


def _skipped(cases: Sequence[Reported]) -> Iterator[str]:
    """Yield a sentence for each of the first reasons why cases were skipped."""
    reasons = Counter(one.headline for one in cases if one.status == "skipped")
    for reason, number in reasons.most_common(_MAX_REASONS):
        yield f"{words.count(number, 'case')} skipped: {_short(reason)}"
    if others := sum(reasons.values()) - sum(n for _, n in reasons.most_common(_MAX_REASONS)):
        yield f"{words.count(others, 'case')} skipped for other reasons"


def _ending(run: RunLink) -> str:
    if not run.commit and not run.url:
        return ""
    commit = f" of commit {escape(run.commit[:12])}" if run.commit else ""
    where = (
        f"{',' if commit else ''} from [the run]({run.url}): its artifacts hold report.md and "
        "candidate.lock"
        if run.url
        else ""
    )
    return f"\n<sub>Results{commit}{where}.</sub>\n"


def _name(one: Reported) -> str:
    return code(one.case_id) if len(one.case_id) <= _MAX_ID else _short(one.case_id, _MAX_ID)


def _short(text: str, length: int = _MAX_TEXT) -> str:
    return escape(text if len(text) <= length else f"{text[:length]}…")


def _fitting(parts: Sequence[str], room: int) -> list[str]:
    """Return the first parts that fit."""
    shown = []
    for part in parts:
        room -= len(part) + 2
        if room < 0:
            break
        shown.append(part)
    return shown
