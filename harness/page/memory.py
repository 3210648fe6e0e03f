"""Compares what holds the memory at a peak, locked and now, for its chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.breakdown.shares import UNEXPLAINED, held_at
from harness.report import words
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.page.report_model import Case, Values

_SHOWN = 16


class Holder(NamedTuple):
    """What holds a part of the memory, in bytes; None where that is not known."""

    name: str
    locked_bytes: int | None
    now_bytes: int | None


class Comparison(NamedTuple):
    """The largest holders at the peak of one batch size."""

    batch_size: int | None
    holders: tuple[Holder, ...]
    others: int
    """How many more there are."""


def compare_holders(case: Case) -> Comparison:
    """Return the largest holders, locked and now at the peak of the same batch where possible."""
    then: Mapping[str, int]
    locked = case.locked
    if case.predicted_at_locked and locked is not None:
        size, now = locked.predicted_batch_size, case.predicted_at_locked
        then = locked.predicted_peak or _held(locked, size or 0)
    elif case.memory or case.memory_per_sample:
        both = locked is not None and bool(locked.memory_per_sample and case.memory_per_sample)
        size = locked.max_batch_size if locked is not None and both else case.max_batch_size
        now = _held(case, size or 0)
        if size == case.max_batch_size:
            now[UNEXPLAINED] = max(0, (case.peak_memory_bytes or 0) - sum(now.values()))
        then = _held(locked, size or 0) if locked is not None and both else {}
        if then and locked is not None:
            then[UNEXPLAINED] = max(0, (locked.peak_memory_bytes or 0) - sum(then.values()))
    else:
        size, then, now = case.predicted_batch_size, {}, case.predicted_peak
    rows = [
        Holder(name, then.get(name), now.get(name))
        for name in dict.fromkeys([*now, *then])
        if now.get(name) or then.get(name)
    ]
    rows.sort(key=lambda row: (row.name == UNEXPLAINED, -max(row[1] or 0, row[2] or 0), row.name))
    return Comparison(size, tuple(rows[:_SHOWN]), max(0, len(rows) - _SHOWN))


def describe_holders(case: Case, found: Comparison) -> str:
    """Return in words what holds most, and what has grown most."""
    largest = max(found.holders, key=lambda one: one.now_bytes or 0)
    text = f"At the peak of batch {found.batch_size}. The most is held by {largest.name}"
    text += f", {format_bytes(largest.now_bytes)}." if largest.now_bytes else "."
    if case.grown:
        first = case.grown[0]
        more = first.now_bytes - first.then_bytes
        at = f" ({first.line})" if first.line else ""
        text += f" {first.holder}{at} holds {format_bytes(more)} more than when it was locked."
    if found.others:
        text += f" {words.count(found.others, 'smaller one')} not shown."
    return text


def _held(values: Values, batch_size: int) -> dict[str, int]:
    return held_at(values.memory, values.memory_per_sample, batch_size)
