"""Renders what holds more memory at the peak than when the case was locked."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from harness.bounds.grown import batch_of, growth
from harness.report import words
from harness.report.table import align
from harness.units import format_bytes

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement

_SHOWN = 6


def growth_block(found: Measurement, locked: LockedProfile) -> str:
    """Return a heading and a row for each holder that has grown, the largest growth first.

    Returns an empty text if none has grown.
    """
    grown = growth(found, locked)
    if not grown:
        return ""
    rows = [
        (
            one.holder,
            f"{'at most ' if one.at_most else ''}{format_bytes(one.then_bytes)}",
            "->",
            format_bytes(one.now_bytes),
            f"+{format_bytes(one.grown_bytes)}",
            one.line,
        )
        for one in grown[:_SHOWN]
    ]
    table = align(rows, ["left", "right", "left", "right", "right", "left"])
    more = f"\nand {words.count(len(grown) - _SHOWN, 'other')}" if len(grown) > _SHOWN else ""
    heading = (
        f"  what holds more memory at the peak of batch {batch_of(found, locked)} "
        "than when it was locked:\n"
    )
    return heading + textwrap.indent(table + more, "    ")
