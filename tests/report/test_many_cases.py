"""What a run of thousands of cases shows and keeps: the most urgent, and no more than is read."""

from __future__ import annotations

import json
from dataclasses import replace

from case_results import axes, measurement, result, unmeasured
from page_reports import many

from harness import report
from harness.measurement import LrCurve
from harness.report.case_result import CaseResult, worst
from harness.report.lr_curves import condensed, lr_sweeps, lr_trials


def cases(number: int) -> list[CaseResult]:
    """Return so many cases that passed, and a failed one and a skipped one behind them."""
    one = result(measurement())
    passed = [
        replace(one, case_id=f"net{at:05}-cpu-32", axes=axes(f"net{at:05}"), status="passed")
        for at in range(number)
    ]
    failed = replace(unmeasured("failed", "lost", model="zoe"), case_id="zoe-cpu-32")
    skipped = replace(unmeasured("skipped", "no GPU", model="abe"), case_id="abe-cpu-32")
    return [*passed, failed, skipped]


def lines(results: list[CaseResult]) -> list[str]:
    """Return the end of a run on a terminal of 80 columns."""
    return report.summary_lines(
        results, width=80, locked=(), lock_path="lock", results_path=".gpu-profile"
    )


def test_terminal_shows_two_hundred_cases_and_all_that_failed() -> None:
    """Of 302 cases the failed one is there; a line counts those that are not, skipped ones last."""
    shown = lines(cases(300))
    assert (200, 1, 0) == (
        sum("-cpu-32 " in line for line in shown[:202]),
        sum(line.startswith("zoe-cpu-32") for line in shown),
        sum(line.startswith("abe-cpu-32 ") for line in shown),
    )
    assert "102 more cases in report.md: 101 passed, 1 skipped" == shown[202]


def test_terminal_shows_each_of_fewer_cases() -> None:
    """With 200 cases nothing is left out."""
    shown = lines(cases(198))
    assert (200, False) == (
        sum("-cpu-32 " in line for line in shown[:202]),
        any("more cases" in line for line in shown),
    )


def test_notes_of_many_cases_are_cut() -> None:
    """Of 250 warnings 200 are shown; report.md has all."""
    warned = measurement(warnings=("loud",))
    results = [
        replace(result(warned), case_id=f"net{at:03}-cpu-32", status="passed") for at in range(250)
    ]
    shown = lines(results)
    assert (200, True) == (
        sum(line.endswith(": loud") for line in shown),
        "50 more lines in report.md" in shown,
    )
    assert 250 == report.render_markdown(results).count(": loud")


def test_failures_of_a_long_report_stand_above_its_table() -> None:
    """GitHub cuts a long summary at its end, and the table is what is long."""
    short, long = (report.render_markdown(cases(number)) for number in (10, 1000))
    assert [False, True] == [
        text.index("## Failures") < text.index("| case |") for text in (short, long)
    ]


def test_long_report_json_holds_the_same_with_a_line_for_each_case() -> None:
    """In parts, it is the document that a short report holds as a whole."""
    results = cases(99)
    text = "".join(report.json_parts(results, "quick"))
    assert report.render_json(results, "quick") == json.loads(text)
    assert len(results) + 2 == len(text.splitlines())


def test_short_report_json_is_for_people() -> None:
    """A report of a hundred cases has a line for each value."""
    results = cases(1)
    assert json.dumps(report.render_json(results), indent=2) + "\n" == "".join(
        report.json_parts(results)
    )


def test_condensed_curves_are_reported_alike() -> None:
    """Sweeps and trials, one of which has diverged, are in report.json as they were."""
    rates = (1e-3,) * 30
    trials = (
        LrCurve(0, rates, tuple(3 / (step + 1) for step in range(30)), 30),
        LrCurve(1, rates[:4], (3.0, 9.0, 40.0, float("inf")), 30),
        LrCurve(1, rates[:10], tuple(2.0 for _ in range(10)), 10),
    )
    swept = many(1)[0].measurement
    assert swept is not None
    whole = replace(swept, lr_curves=(*swept.lr_curves, *trials))
    assert (lr_sweeps(whole), lr_trials(whole)) == (
        lr_sweeps(condensed(whole)),
        lr_trials(condensed(whole)),
    )
    kept = sum(len({*map(id, curve.losses)}) for curve in condensed(whole).lr_curves)
    assert kept < 0.25 * sum(len(curve.losses) for curve in whole.lr_curves)


def test_worst_of_several_tests_counts() -> None:
    """A case that failed in one test stays failed; of equals the latest counts."""
    passed, failed = result(measurement()), unmeasured("failed", "first")
    later = unmeasured("failed", "second")
    assert [failed, failed, later] == [
        worst(None, failed),
        worst(failed, replace(passed, status="passed")),
        worst(failed, later),
    ]
