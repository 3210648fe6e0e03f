"""Names cases by the values on their axes: tests, lockfile and reports show the same id."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar = str | int | float | bool
"""A value on an axis of the matrix."""

MAIN_AXES = ("model", "gpu", "resolution")
"""The axes that every case has, in the order in which ids name them."""


def label(value: Scalar) -> str:
    """Return a value as ids and texts show it: `true`, `0.1`, `1e-06`, `1e20`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    # Python writes 1e+20, and labels have no plus sign.
    return repr(value).replace("+", "") if isinstance(value, float) else str(value)


def case_id(axes: Mapping[str, Scalar]) -> str:
    """Join the values of a case's axes into its id: `resnet18-h200-224`."""
    return "-".join([label(value) for value in axes.values()])
