"""Writes annotations: commands that GitHub reads in a step's output and shows at lines of code.

A failed case is an error at the line of its model in the matrix. A line that holds more memory than
when the case was locked is a warning at that line. docs.github.com describes the commands under
"Workflow commands".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.bounds.grown import growth
from harness.report.headline import headline
from harness.report.words import count
from harness.units import format_bytes
from harness.visible import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.report.case_result import CaseResult

SHOWN = 10
"""GitHub shows so many errors, and so many warnings, of one step, and drops the others."""

_LINES_OF_A_CASE = 3


class _Annotation(NamedTuple):
    level: str
    place: tuple[str, int] | None
    """A file, below the root of the repository, and a line."""
    title: str
    message: str


def annotation_commands(
    results: Sequence[CaseResult],
    matrix: Path,
    line_of: Callable[[CaseResult], int],
    workspace: Path,
) -> list[str]:
    """Return a command for each failed case, and for each line of the user's that holds more.

    There are at most ten errors and ten warnings: GitHub drops more without a word. The last one
    then says how many it stands for. A file outside of the workspace is not named.

    line_of: returns the line of a case in the matrix.
    workspace: the root of the repository.
    """
    failed = [one for one in results if one.status in ("failed", "error")]
    errors = [
        _Annotation(
            "error",
            (place, line_of(one)) if (place := _inside(matrix, workspace)) else None,
            one.case_id,
            headline(one),
        )
        for one in sorted(failed, key=lambda result: result.case_id)
    ]
    warnings = list(_culprits(failed, workspace))
    return [_command(one) for kind in (errors, warnings) for one in _limited(kind)]


def _culprits(failed: Sequence[CaseResult], workspace: Path) -> Iterator[_Annotation]:
    """Yield a warning for each line that holds more memory; cases that share it share one."""
    found: dict[tuple[str, int], tuple[dict[str, None], dict[str, None]]] = {}
    for one in sorted(failed, key=lambda result: result.case_id):
        if one.measurement is None or one.locked is None:
            continue
        for grown in growth(one.measurement, one.locked)[:_LINES_OF_A_CASE]:
            file, _, line = grown.line.rpartition(":")
            place = _inside(Path(file), workspace) if file and line.isdecimal() else None
            if place is not None:
                then = f"{'at most ' if grown.at_most else ''}{format_bytes(grown.then_bytes)}"
                now = format_bytes(grown.now_bytes)
                text = f"{one.case_id}: {grown.holder} holds {now}, locked {then}"
                names, texts = found.setdefault((place, int(line)), ({}, {}))
                names[one.case_id] = texts[text] = None
    for at, (names, texts) in found.items():
        yield _Annotation("warning", at, f"more memory: {', '.join(names)}", "; ".join(texts))


def _inside(path: Path, workspace: Path) -> str | None:
    """Return a file's path below the workspace; None where it is no file in there."""
    real = Path(os.path.realpath(path))
    root = os.path.realpath(workspace)
    return (
        real.relative_to(root).as_posix() if real.is_relative_to(root) and real.is_file() else None
    )


def _limited(kind: Sequence[_Annotation]) -> list[_Annotation]:
    if len(kind) <= SHOWN:
        return [*kind]
    first, rest = kind[: SHOWN - 1], kind[SHOWN - 1 :]
    names = ", ".join(one.title for one in rest)
    more = count(len(rest), "more annotation")
    return [*first, _Annotation(rest[0].level, None, more, f"{names}: report.md has them all")]


def _command(one: _Annotation) -> str:
    properties: Mapping[str, object] = {"title": cut(one.title)}
    if one.place is not None:
        properties = {"file": one.place[0], "line": one.place[1], **properties}
    shown = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in properties.items())
    return f"::{one.level} {shown}::{_escaped(cut(one.message))}"


def _escaped(text: str, more: str = "") -> str:
    """Return a text as the commands encode it; `more` are characters that end a property."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in text)
