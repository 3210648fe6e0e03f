"""Finds every `${axis}` in a matrix, and replaces it by a case's value. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from harness.case_names import label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.case_names import Scalar

    Path = tuple[str | int, ...]

# Group 1 is the axis, group 2 the closing brace. `$${` is an escaped `${`.
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")


class Unresolved(str):
    """A scalar with a `${axis}` that has no value yet, so that the scalar cannot be checked."""

    __slots__ = ()


def substitute(value: Any, axes: Mapping[str, Scalar]) -> Any:
    """Return a plain copy of `value` with every `${axis}` replaced.

    A scalar that is a single reference becomes the axis's value, with its type. Inside a longer
    text, `label` formats the value. A text with a reference that is not in `axes` becomes an
    `Unresolved`.
    """
    if isinstance(value, str):
        return _substitute_text(value, axes) if "${" in value else value
    if isinstance(value, dict):
        return {key: substitute(item, axes) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, axes) for item in value]
    return value


def references(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield the place and the axis of each reference below `value`.

    A reference without a closing brace yields its text from `${` on in place of the axis.
    """
    if isinstance(value, str):
        for match in _REFERENCE.finditer(value) if "${" in value else ():
            if match[1] is not None:
                yield path, match[1].strip() if match[2] else match[0]
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from references(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from references(item, (*path, number))


def _substitute_text(text: str, axes: Mapping[str, Scalar]) -> Any:
    whole = _REFERENCE.fullmatch(text)
    if whole is not None and whole[1] is not None and whole[2] and whole[1].strip() in axes:
        return axes[whole[1].strip()]
    unresolved = False

    def replace(match: re.Match[str]) -> str:
        nonlocal unresolved
        if match[1] is None:
            return "${"
        name = match[1].strip()
        if not match[2] or name not in axes:
            unresolved = True
            return match[0]
        return label(axes[name])

    replaced = _REFERENCE.sub(replace, text)
    return Unresolved(replaced) if unresolved else replaced
