"""The loggers of a matrix: they get what a run found, and change nothing that it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from harness.matrix.callables import CallableSpec
from harness.matrix.field_types import Allowed, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.matrix.class_paths import ClassPaths

KEY = "loggers"
CASE = "case"
"""`${case}` is the id of the case, beside the axes."""
Loggers = Annotated[
    tuple[CallableSpec, ...], Allowed("a list of mappings with class_path and init_args")
]


class LoggersSettings(Settings):
    """The part of a matrix that names loggers."""

    loggers: Loggers = ()
    """Loggers of Lightning, which get metrics, tuned values and plots of each case."""

    def plain(self) -> tuple[dict[str, Any], ...]:
        """Return plain data for JSON."""
        return tuple(logger.plain() for logger in self.loggers)


def is_case(place: tuple[str | int, ...], name: str) -> bool:
    """Return whether a reference is that of a logger to its case."""
    return place[:1] == (KEY,) and name == CASE


def names(place: tuple[str | int, ...], axes: Sequence[str]) -> list[str]:
    """Return what a place may refer to."""
    return [*axes, *([CASE] if place[:1] == (KEY,) else [])]


def may_be_absent(place: tuple[str | int, ...], class_path: str, checker: ClassPaths) -> bool:
    """Return whether a class path is that of a logger whose package is not installed.

    A run measures without it, and warns.
    """
    return place[:1] == (KEY,) and not checker.has_package(class_path)
