"""Renders the table of results: one row per case, and the columns for which there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tabulate import tabulate

from harness.report import words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement
    from harness.report.case_result import CaseResult

# A terminal of this width shows the first six columns and nothing else.
_STANDARD_WIDTH = 80
_GAP = 2
# "abcd...wxyz": a shorter id could not be recognised.
_MIN_ID = 11

_MARKUP = {
    "passed": {"green": True},
    "failed": {"red": True},
    "error": {"red": True, "bold": True},
    "skipped": {"yellow": True},
}


class Column(NamedTuple):
    """A heading, the cell of a case, and the alignment: numbers to the right, words to the left."""

    heading: str
    cell: Callable[[CaseResult], str]
    alignment: str = "right"


def _measured(get: Callable[[Measurement], object]) -> Callable[[CaseResult], str]:
    """Return the cell function for a value that only a measured case has."""

    def cell(result: CaseResult) -> str:
        value = None if result.measurement is None else get(result.measurement)
        return words.MISSING if value is None else str(value)

    return cell


def _tuned_batch(measurement: Measurement) -> int | None:
    return measurement.batch_size or None


def _beside(measurement: Measurement) -> int | None:
    """Return the prediction that a measured case has as well."""
    return measurement.predicted_batch_size if measurement.source == "measured" else None


def _num_probes(measurement: Measurement) -> int | None:
    return len(measurement.probes) or None


ESSENTIAL = (
    Column("case", lambda result: result.case_id, "left"),
    Column("max batch", _measured(words.largest_batch)),
    Column("change", words.change),
    Column("LR", _measured(words.learning_rate_mark)),
    Column("peak", _measured(words.peak_share)),
    Column("status", lambda result: result.status, "left"),
)
"""The columns that every terminal shows, in order of importance."""

FURTHER = (
    Column("batch", _measured(_tuned_batch)),
    Column("accumulate", _measured(lambda measurement: measurement.accumulate_grad_batches)),
    Column("workers", _measured(lambda measurement: measurement.num_workers)),
    Column("val batch", _measured(lambda measurement: measurement.validation_batch_size)),
    Column("inference", _measured(words.inference), "left"),
    Column("buckets", _measured(words.buckets), "left"),
    Column("predicted", _measured(_beside), "right"),
    Column("bounded by", _measured(lambda measurement: measurement.bounded_by), "left"),
    Column("samples/s", _measured(lambda measurement: words.speed(measurement.samples_per_second))),
    Column("probes", _measured(_num_probes)),
    Column("seconds", _measured(lambda measurement: f"{measurement.seconds:.1f}")),
    Column("LR range", _measured(words.learning_rate_range), "left"),
)
"""The columns of wider terminals; where room is short, the last is dropped first."""


def _locked(get: Callable[[LockedProfile], object]) -> Callable[[CaseResult], str]:
    """Return the cell function for a value of the committed profile."""

    def cell(result: CaseResult) -> str:
        value = None if result.locked is None else get(result.locked)
        return words.MISSING if value is None else str(value)

    return cell


CHECKED = (
    Column("case", lambda result: result.case_id, "left"),
    Column("locked batch", _locked(lambda locked: locked.batch_size)),
    Column("locked LR", _locked(lambda locked: words.learning_rate(locked.learning_rate))),
    Column("locked on", _locked(lambda locked: words.place(locked.device, {})), "left"),
    Column("status", lambda result: result.status, "left"),
)
"""The columns of a run that checks the lock and measures nothing."""


def columns(results: Sequence[CaseResult], *, further: bool) -> list[Column]:
    """Return the columns that have a value for some case; `further`: not only the essential."""
    if any(one.measurement is None and one.locked is not None for one in results):
        return [*CHECKED]
    more = [
        column for column in FURTHER if any(column.cell(one) != words.MISSING for one in results)
    ]
    return [*ESSENTIAL, *(more if further else ())]


def render_table(results: Sequence[CaseResult], width: int) -> str:
    """Return the results as a plain table of at most `width` columns.

    At 80 columns and under it has exactly case, max batch, change against the lock, LR, peak share
    of the limit, and status. A wider table adds tuned batch, accumulation, workers, validation,
    prediction, bounded by, samples/s, probes, seconds and LR range. Of these, the rightmost columns
    that do not fit are dropped, and so is a column without a value. If even the first six do not
    fit, long ids are shortened in the middle, to no less than eleven characters.
    """
    rows = sorted(results, key=lambda result: result.case_id)
    shown = columns(rows, further=width > _STANDARD_WIDTH)
    cells = [[column.cell(row) for row in rows] for column in shown]
    widths = [
        max(len(text) for text in (column.heading, *texts))
        for column, texts in zip(shown, cells, strict=True)
    ]
    while len(shown) > len(ESSENTIAL) and _total(widths) > width:
        shown.pop()
        widths.pop()
    room = max(widths[0] - max(_total(widths) - width, 0), _MIN_ID)
    cells[0] = [shorten_middle(text, room) for text in cells[0]]
    widths[0] = max(len(text) for text in (shown[0].heading, *cells[0]))
    rule = ["-" * width for width in widths]
    return align(
        [[column.heading for column in shown], rule, *zip(*cells[: len(shown)], strict=True)],
        [column.alignment for column in shown],
    )


def align(rows: Sequence[Sequence[str]], alignments: Sequence[str]) -> str:
    """Return rows of text in aligned columns, two spaces apart, without trailing spaces.

    The headings are passed as rows, because tabulate pads its own by two columns each.
    """
    table = tabulate(rows, tablefmt="plain", colalign=alignments, disable_numparse=True)
    return "\n".join(line.rstrip() for line in table.splitlines())


def shorten_middle(text: str, width: int) -> str:
    """Return `text` in at most `width` characters, keeping both ends: `resnet18-nv...-224`."""
    if len(text) <= width:
        return text
    kept = width - len("...")
    tail = kept // 2
    return f"{text[: kept - tail]}...{text[len(text) - tail :]}"


def status_markup(status: str) -> dict[str, bool]:
    """Return the markup of a status as keywords of pytest's TerminalWriter; none if unknown."""
    return dict(_MARKUP.get(status, {}))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)
