"""Names cases by the values on their axes: tests, lockfile and reports show the same id."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar = str | int | float | bool
"""A value on an axis of the matrix."""

LABEL = r"[A-Za-z0-9._]+(-[A-Za-z0-9._]+)*"
"""The pattern of a label, which becomes part of a test id and of file names."""
LABEL_FORM = "letters, digits, dots and underscores, with dashes between them"

AXIS = r"[A-Za-z_][A-Za-z0-9_-]*"
"""The pattern of an axis's name, which is a keyword of `load_profile` as well."""

MAX_ID_LENGTH = 200
"""The limit of a case's id, which names a folder."""

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
