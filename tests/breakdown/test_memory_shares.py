"""Rows that add up to the peak of a profile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from measurements import measurement

from harness.breakdown.shares import breakdown

if TYPE_CHECKING:
    from harness.measurement import Measurement

STORED = replace(
    measurement(),
    max_batch_size=10,
    peak_memory_bytes=1000,
    memory={"parameter": 100, "activation of head": 8},
    memory_per_sample={"activation of head": 32, "activation of neck": 16, "input": 4},
)


def rows(profile: Measurement) -> list[tuple[str, str, int, int | None]]:
    """Return the rows of a breakdown that is there."""
    parts = breakdown(profile)
    assert parts is not None
    return [(row.kind, row.module, row.num_bytes, row.bytes_per_sample) for row in parts.rows]


def test_rows_are_by_kind_and_module_and_add_up() -> None:
    """The largest kind comes first, and what is unexplained last; together they are the peak."""
    assert [
        ("activation", "head", 328, 32),
        ("activation", "neck", 160, 16),
        ("parameter", "", 100, 0),
        ("input", "", 40, 4),
        ("unexplained", "", 372, None),
    ] == rows(STORED)
    assert 1000 == sum(row[2] for row in rows(STORED))


def test_more_than_the_peak_is_never_negative() -> None:
    """Tensors that hold more than the peak that was measured leave nothing unexplained."""
    parts = breakdown(replace(STORED, peak_memory_bytes=600))
    assert parts is not None
    assert (628, 28, 0) == (parts.peak_bytes, parts.beyond_bytes, parts.rows[-1].num_bytes)


def test_kinds_are_summed() -> None:
    """A kind's samples are those of its modules together."""
    parts = breakdown(STORED)
    assert parts is not None
    assert [("activation", 488, 48), ("parameter", 100, 0)] == [
        (row.kind, row.num_bytes, row.bytes_per_sample) for row in parts.kinds()[:2]
    ]


def test_prediction_has_its_largest_holders() -> None:
    """A prediction that was locked before there was a table shows what it holds."""
    predicted = replace(
        STORED,
        source="predicted",
        memory={},
        memory_per_sample={},
        predicted_peak={"activation of head": 700},
    )
    assert [
        ("activation", "head", 700, None),
        ("unexplained", "", 300, None),
    ] == rows(predicted)


def test_nothing_stored_is_no_breakdown() -> None:
    """A profile without a table has none."""
    assert breakdown(replace(STORED, memory={}, memory_per_sample={})) is None
