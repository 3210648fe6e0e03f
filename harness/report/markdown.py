"""Renders report.md, the results for people who read them on GitHub."""

from __future__ import annotations

import html
import re
from collections import Counter
from typing import TYPE_CHECKING

from harness.report.failure import failure_text
from harness.report.headline import headline
from harness.report.speeds import HEADINGS, speed_rows
from harness.report.summary import improvement_lines, note_lines
from harness.report.table import columns
from harness.visible import one_line, visible
from harness.wording import RELOCK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.lockfile.precisions import Recommendation
    from harness.measurement import Measurement
    from harness.report.case_result import CaseResult

_SPECIAL = re.compile(
    r"(@|(?:[#!]|(?<!\w)gh-)(?=\d))|([\\`*_\[\]<>|~#&])|(?<=www)(\.)|(:)(?=//)", re.IGNORECASE
)
_ID = re.compile(r"[\w.-]+")
# GitHub refuses a step's whole summary when it is larger.
_SUMMARY_LIMIT_BYTES = 1024 * 1024
_LONG = 1000
_CUT = (
    "\n\nCut at GitHub's limit for summaries: report.md among the run's artifacts has all of it.\n"
)


def render_markdown(
    results: Sequence[CaseResult],
    header: Mapping[str, str] | None = None,
    recommendations: Sequence[Recommendation] = (),
) -> str:
    """Return the results as GitHub's Markdown: counts, table, notes, and a section per failure.

    `header` holds names and values to show above the table, such as versions.
    """
    rows = sorted(results, key=lambda result: result.case_id)
    counts = Counter(row.status for row in rows)
    parts = [
        "# GPU profiles",
        ", ".join(f"{number} {status}" for status, number in sorted(counts.items())),
    ]
    if header:
        parts.append(
            "\n".join(f"- {escape(name)}: {escape(value)}" for name, value in header.items())
        )
    if rows:
        parts.append(_table(rows))
    if recommendations:
        parts.append("\n".join(f"- {escape(str(one))}" for one in recommendations))
    if notes := note_lines(rows):
        parts.append("\n".join(f"- {escape(note)}" for note in notes))
    if improvements := improvement_lines(rows):
        parts += ["## Better than locked", fence("\n".join(improvements))]
    parts += [_speeds(row.case_id, row.measurement) for row in rows if row.measurement]
    if failures := [row for row in rows if row.status in ("failed", "error")]:
        details = ["## Failures", *(_details(row) for row in failures)]
        # GitHub cuts a long summary, and what is long is the table.
        place = 2 if len(rows) > _LONG else len(parts)
        parts[place:place] = details
    return "\n\n".join(part for part in parts if part) + "\n"


def append_step_summary(text: str, path: Path) -> None:
    """Append Markdown to the file of `$GITHUB_STEP_SUMMARY`, within GitHub's limit of 1 MiB."""
    used = path.stat().st_size if path.exists() else 0
    data = text.encode()
    if used + len(data) > _SUMMARY_LIMIT_BYTES:
        room = max(_SUMMARY_LIMIT_BYTES - used - len(_CUT.encode()), 0)
        # At most the one character that the cut splits is dropped.
        data = data[:room].decode(errors="ignore").encode() + _CUT.encode()
    with path.open("ab") as file:
        file.write(data)


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, also in a table's cell."""
    return _SPECIAL.sub(_escaped, one_line(" ".join(text.split())))


def _escaped(found: re.Match[str]) -> str:
    # GitHub and GitLab look for names of people, and for issues (`#1`, `GH-1`, `!1`), in the
    # finished page: an escape alone would not hide one.
    return f"{found[1]}&#8203;" if found[1] else f"\\{found[0]}"


def code(text: str) -> str:
    """Return a case's id as code, which Markdown does not wrap; an unusual one as escaped text."""
    return f"`{text}`" if _ID.fullmatch(text) else escape(text)


def fence(text: str) -> str:
    """Return text as a block of code; it may hold backticks."""
    text = visible(text)
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}text\n{text}\n{ticks}"


def _table(rows: Sequence[CaseResult]) -> str:
    shown = columns(rows, further=True)
    lines = [[column.heading for column in shown]]
    lines.append([":--" if column.alignment == "left" else "--:" for column in shown])
    lines += [
        [code(row.case_id), *(escape(column.cell(row)) for column in shown[1:])] for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _speeds(case_id: str, measurement: Measurement) -> str:
    """Return the table of the speeds of a case; an empty text if fewer than two were timed."""
    if len(measurement.speeds) < 2:  # noqa: PLR2004 - one of them is in the table of all cases
        return ""
    lines = [HEADINGS, ("--:",) * len(HEADINGS), *speed_rows(measurement)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## Samples/s of {code(case_id)}\n\n{table}"


def _details(result: CaseResult) -> str:
    if result.measurement is not None and result.violations:
        text = failure_text(result, result.update_command or RELOCK)
    elif result.reason and "\n" in result.reason.strip():
        text = result.reason.strip()
    else:
        return f"{code(result.case_id)}: {escape(headline(result))}"
    summary = html.escape(one_line(headline(result)), quote=False).replace("@", "@&#8203;")
    return (
        f"<details>\n<summary><code>{html.escape(result.case_id)}</code>: {summary}</summary>\n\n"
        f"{fence(text)}\n\n</details>"
    )
