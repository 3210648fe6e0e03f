"""The table of results."""

from __future__ import annotations

import pytest
from case_results import axes, locked, measurement, result, several, unmeasured

from harness import report
from harness.report import words
from harness.report.table import shorten_middle

AT_80 = """\
case                    max batch  change            LR   peak  status
----------------------  ---------  ------  ------------  -----  -------
alexnet-cpu-256MiB-32           -       -             -      -  error
resnet18-cpu-256MiB-32        471   +0.0%       3.2e-03  97.7%  passed
resnet18-cpu-256MiB-64        118     new  kept 3.2e-03  97.7%  failed
resnet18-h200-224               -       -             -      -  skipped
vit_tiny-cpu-256MiB-32        412  -12.5%       refused  89.8%  failed"""

AT_60 = """\
case         max batch  change            LR   peak  status
-----------  ---------  ------  ------------  -----  -------
alex...B-32          -       -             -      -  error
resn...B-32        471   +0.0%       3.2e-03  97.7%  passed
resn...B-64        118     new  kept 3.2e-03  97.7%  failed
resn...-224          -       -             -      -  skipped
vit_...B-32        412  -12.5%       refused  89.8%  failed"""

AT_120 = """\
case                    max batch  change            LR   peak  status   batch  val batch  bounded by  samples/s  probes
----------------------  ---------  ------  ------------  -----  -------  -----  ---------  ----------  ---------  ------
alexnet-cpu-256MiB-32           -       -             -      -  error        -          -  -                   -       -
resnet18-cpu-256MiB-32        471   +0.0%       3.2e-03  97.7%  passed     471        471  memory           1180       2
resnet18-cpu-256MiB-64        118     new  kept 3.2e-03  97.7%  failed     112        471  memory           1180       2
resnet18-h200-224               -       -             -      -  skipped      -          -  -                   -       -
vit_tiny-cpu-256MiB-32        412  -12.5%       refused  89.8%  failed     412        471  memory           1180       2"""

WIDEST = (
    "  seconds  LR range",
    "  -------  ---------------------------------",
    "        -  -",
    "     31.2  0.00211 to 0.00474, over 40 steps",
    "     31.2  0.00211 to 0.00474, over 40 steps",
    "        -  -",
    "     31.2  -",
)
AT_200 = "\n".join(line + cell for line, cell in zip(AT_120.splitlines(), WIDEST, strict=True))


@pytest.mark.parametrize(
    ("width", "expected"), [(60, AT_60), (80, AT_80), (120, AT_120), (200, AT_200)]
)
def test_table_fits_the_width(width: int, expected: str) -> None:
    """At the usual widths, the table is sorted and aligned, and has the columns that fit."""
    assert expected == report.render_table(several(), width)


def test_further_columns_go_from_the_right() -> None:
    """In narrower terminals, columns are dropped from the right: LR range first, batch last."""
    headings = {report.render_table(several(), width).splitlines()[0] for width in range(80, 180)}
    essential = "case                    max batch  change            LR   peak  status"
    further = ["   batch", "  val batch", "  bounded by", "  samples/s", "  probes", "  seconds"]
    further.append("  LR range")
    assert {essential + "".join(further[:number]) for number in range(8)} == headings


def test_no_line_is_wider_than_the_terminal() -> None:
    """No line is wider than the terminal, from 60 columns on."""
    for width in range(60, 200):
        assert max(map(len, report.render_table(several(), width).splitlines())) <= width


def test_only_six_columns_at_80_even_with_room() -> None:
    """At 80 columns a further column is not shown, although it would fit."""
    table = report.render_table([result(measurement(axes=axes("a")), locked(axes=axes("a")))], 80)
    assert table.split("\n")[0].split() == [
        "case",
        "max",
        "batch",
        "change",
        "LR",
        "peak",
        "status",
    ]


def test_column_without_values_is_left_out() -> None:
    """A further column in which no case has a value is left out."""
    table = report.render_table([result(measurement(validation_batch_size=None))], 200)
    assert "val batch" not in table


def test_unmeasured_cases_alone() -> None:
    """A run that measured nothing still has a table."""
    expected = (
        "case                   max batch  change  LR  peak  status\n"
        "---------------------  ---------  ------  --  ----  ------\n"
        "alexnet-cpu-256MiB-32          -       -   -     -  error"
    )
    assert expected == report.render_table([unmeasured("error", "lost", model="alexnet")], 200)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [(471, "+0.0%"), (412, "-12.5%"), (520, "+10.4%"), (942, "+100.0%"), (0, "-100.0%")],
)
def test_change_against_the_lock(measured: int, expected: str) -> None:
    """The change is that of the largest batch from the locked one, with its sign."""
    row = result(measurement(max_batch_size=measured, batch_size=measured), locked())
    assert expected == report.render_table([row], 80).splitlines()[-1].split()[2]


def test_nothing_fits_row() -> None:
    """A case in which nothing trains shows 0 and no peak."""
    nothing = measurement(
        max_batch_size=0,
        batch_size=0,
        learning_rate=None,
        peak_memory_bytes=None,
        bounded_by="nothing fits",
    )
    row = report.render_table([result(nothing)], 80).splitlines()[-1]
    assert row.split() == ["resnet18-cpu-256MiB-32", "0", "new", "-", "-", "failed"]


@pytest.mark.parametrize(
    ("samples_per_second", "expected"),
    [(None, "-"), (9.96, "10.0"), (99.94, "99.9"), (100.0, "100"), (10340.4, "10340")],
)
def test_speed(samples_per_second: float | None, expected: str) -> None:
    """Samples per second are whole numbers from 100 on, and have one decimal below."""
    assert expected == words.speed(samples_per_second)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("resnet18-h200-224", 17, "resnet18-h200-224"),
        ("resnet18-h200-224", 16, "resnet1...00-224"),
        ("resnet18-h200-224", 11, "resn...-224"),
    ],
)
def test_ids_are_shortened_in_the_middle(text: str, width: int, expected: str) -> None:
    """An id that is too long keeps both of its ends and fills the width."""
    assert expected == shorten_middle(text, width)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("passed", {"green": True}),
        ("failed", {"red": True}),
        ("error", {"red": True, "bold": True}),
        ("skipped", {"yellow": True}),
        ("unheard of", {}),
    ],
)
def test_status_markup(status: str, expected: dict[str, bool]) -> None:
    """Every known status has the colour that pytest uses for it."""
    assert expected == report.status_markup(status)
