"""Tells which modules hold more memory in one prediction than in another, at the same batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from harness.bounds.predicted import Growth
from harness.identity.fingerprint import mapping_changes, workload_changes
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.cli.elsewhere.answers import CaseAnswer, Held

SHOWN_GROWTHS = 6


class GrownHolderData(TypedDict):
    """What holds more memory in one prediction than in another, at the same batch size."""

    holder: str
    """`activation of blocks.0`."""
    line: str | None
    """The innermost line of the user's code."""
    old_bytes: int
    new_bytes: int


def grown(then: Held | None, now: Held | None) -> list[Growth]:
    """Return the holders that have grown, the largest growth first; none where it is not known."""
    if then is None or now is None:
        return []
    found = [
        Growth(name, then["holders"].get(name, 0), size, False, now["lines"].get(name, ""))
        for name, size in now["holders"].items()
    ]
    return sorted((one for one in found if one.grown_bytes > 0), key=lambda one: -one.grown_bytes)


def growth_lines(growths: list[Growth]) -> Iterator[str]:
    """Yield a line for each of the largest growths, in columns."""
    shown = growths[:SHOWN_GROWTHS]
    columns = [
        (
            one.holder,
            format_bytes(one.then_bytes),
            format_bytes(one.now_bytes),
            f"+{format_bytes(one.grown_bytes)}",
            one.line,
        )
        for one in shown
    ]
    widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
    for holder, then, now, more, line in columns:
        yield (
            f"  {holder:<{widths[0]}}  {then:>{widths[1]}}  ->  {now:>{widths[2]}}  "
            f"{more:>{widths[3]}}  {line}"
        ).rstrip()
    if len(growths) > len(shown):
        yield f"  and {len(growths) - len(shown)} others"


def other_changes(then: CaseAnswer, now: CaseAnswer) -> list[str]:
    """Return what else differs: settings of the recipe, and parts of the workload."""
    settings = mapping_changes(then["settings"], now["settings"], absent="the default")
    return [*settings, *workload_changes(then["workload"], now["workload"])]


def grown_data(growths: list[Growth]) -> list[GrownHolderData]:
    """Return growths as JSON documents have them."""
    return [
        {
            "holder": one.holder,
            "line": one.line or None,
            "old_bytes": one.then_bytes,
            "new_bytes": one.now_bytes,
        }
        for one in growths
    ]
