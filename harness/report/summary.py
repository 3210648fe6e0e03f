"""Renders the end of a run: the table, notes, improvements, and where the results are."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from harness.bounds.failed_probes import telling_failure
from harness.lr_range.rate_map import shown
from harness.report import words
from harness.report.speeds import speed_line
from harness.report.table import render_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from harness.lockfile.precisions import Recommendation
    from harness.measurement import Measurement
    from harness.report.case_result import CaseResult

# A long matrix may skip hundreds of cases for one reason.
_MAX_NAMED = 3
# Of cases, and of notes: nobody reads ten thousand rows on a terminal.
_MAX_ROWS = 200
_URGENT = ("error", "failed", "passed", "skipped")


def summary_lines(
    results: Sequence[CaseResult],
    *,
    width: int,
    locked: Collection[str],
    lock_path: str,
    results_path: str,
    recommendations: Sequence[Recommendation] = (),
    has_page: bool = False,
) -> list[str]:
    """Return the lines at the end of a run, at most `width` columns wide.

    Only paths and commands may be wider. `locked` holds the ids of the cases that were written to
    the lock at `lock_path`; the run's files are in the folder `results_path`, with a page if
    `has_page`.
    """
    if not results:
        return []
    shown, note = _first(results)
    blocks = [render_table(shown, width).splitlines() + note]
    if recommendations:
        blocks.append([line for one in recommendations for line in _wrapped(str(one), width)])
    if notes := note_lines(results):
        blocks.append([line for note in _cut(notes) for line in _wrapped(note, width)])
    known = frozenset(locked)
    better = _cut(improvement_lines([one for one in results if one.case_id not in known]))
    blocks.append(
        [line for text in better for line in ([text] if text[0] == " " else _wrapped(text, width))]
    )
    page = "report.html, " if has_page else ""
    ending = [f"results in {results_path}: {page}report.md, report.json, candidate.lock"]
    if locked:
        ending.insert(0, f"locked {words.count(len(locked), 'case')} in {lock_path}")
    blocks.append(ending)
    lines: list[str] = []
    for block in filter(None, blocks):
        lines += ["", *block] if lines else block
    return lines


def _first(results: Sequence[CaseResult]) -> tuple[Sequence[CaseResult], list[str]]:
    """Return the cases of a terminal, failures first where there are many, and a line on others."""
    if len(results) <= _MAX_ROWS:
        return results, []
    order = sorted(results, key=lambda result: (_URGENT.index(result.status), result.case_id))
    left = Counter[str](result.status for result in order[_MAX_ROWS:])
    number = words.count(left.total(), "more case")
    said = ", ".join(f"{left[status]} {status}" for status in _URGENT if left[status])
    return order[:_MAX_ROWS], [f"{number} in report.md: {said}"]


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - _MAX_ROWS
    return lines if more <= 0 else [*lines[:_MAX_ROWS], f"{more} more lines in report.md"]


def note_lines(results: Sequence[CaseResult]) -> list[str]:
    """Return the notes on a run, one line each: skips, refused learning rates, warnings."""
    lines = []
    skipped: dict[str, list[str]] = {}
    for result in _sorted(results):
        if result.status == "skipped":
            skipped.setdefault(result.reason or "no reason given", []).append(result.case_id)
    for reason, ids in skipped.items():
        more = f" and {len(ids) - _MAX_NAMED} more" if len(ids) > _MAX_NAMED else ""
        lines.append(f"skipped {', '.join(ids[:_MAX_NAMED])}{more}: {reason}")
    if predicted := [
        one.measurement for one in results if one.measurement and one.source == "predicted"
    ]:
        torch = predicted[0].predicted_with.get("torch", predicted[0].made_with.get("torch", "?"))
        lines.append(
            f"~ marks what was predicted with torch {torch}: nothing was trained, and nothing ran "
            "on a GPU"
        )
    for result in _sorted(results):
        if result.measurement is not None:
            lines += [f"{result.case_id}: {note}" for note in _notes_on(result.measurement)]
            lines += [f"{result.case_id}: {warning}" for warning in result.all_warnings]
    return lines


def _notes_on(measurement: Measurement) -> Iterator[str]:
    """Yield what a reader of the table must know of a case."""
    if measurement.learning_rate is None and measurement.lr_refusal:
        yield f"no learning rate: {measurement.lr_refusal}"
    if (then := _rates_of_groups(measurement)) is not None:
        yield (
            f"the learning rate {measurement.learning_rate:.3g} is what the attribute is set to; "
            f"{then}"
        )
    if (speeds := speed_line(measurement)) is not None:
        yield speeds
    if (sizes := words.inference(measurement)) is not None:
        yield f"largest batches without training's state: {sizes}"
    if (sizes := words.buckets(measurement)) is not None:
        yield f"batch sizes by bucket: {sizes}{words.bounds_of_buckets(measurement)}"
    if measurement.loader_samples_per_second:
        yield words.loading(measurement)
    if measurement.non_monotone is not None:
        failed = telling_failure(measurement)
        between = measurement.max_batch_size + 1 if failed is None else failed.batch_size
        yield f"batch {measurement.non_monotone} fits too, although {between} does not"


def _rates_of_groups(measurement: Measurement) -> str | None:
    """Return the rates of the optimizer in words, where they are not the learning rate itself."""
    if measurement.group_learning_rates:
        return f"the optimizer's groups then have {shown(measurement.group_learning_rates)}"
    if measurement.largest_learning_rate is None:
        return None
    largest = measurement.largest_learning_rate
    return f"the largest group of the optimizer then has {largest:.3g}"


def improvement_lines(results: Sequence[CaseResult]) -> list[str]:
    """Return the gains beyond the bounds, each with the command that locks it."""
    lines = []
    for result in _sorted(results):
        if result.improvements:
            lines.append(f"{result.case_id}: better than locked: {'; '.join(result.improvements)}")
            if result.update_command:
                lines += ["lock it with:", f"  {result.update_command}"]
    return lines


def why_nothing(results: Sequence[CaseResult], num_cases: int) -> str:
    """Return the reason why a run measured nothing, and what to do about it.

    `num_cases` is the number of cases in the matrix.
    """
    if num_cases == 0:
        return "the matrix has no cases"
    if not results:
        return (
            f"no test ran for {words.count(num_cases, 'case')} of the matrix; a test module needs "
            "`from harness.testing import test_gpu_profile` or a test on the fixture gpu_profile, "
            "and -k, -m, --lf or a path must not leave it out; name a module whose tests come from "
            "elsewhere by its path"
        )
    skipped = [result for result in results if result.status == "skipped"]
    if len(skipped) < len(results):
        return "no case was measured; the failures above say why"
    reasons = list(dict.fromkeys(result.reason or "no reason given" for result in _sorted(skipped)))
    return f"{words.count(len(skipped), 'case')} skipped: {'; '.join(reasons)}"


def _sorted(results: Sequence[CaseResult]) -> list[CaseResult]:
    return sorted(results, key=lambda result: result.case_id)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
