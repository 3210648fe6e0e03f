"""`${axis}` in a matrix: found, checked, and replaced by a case's value. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.measurement import Scalar

    Path = tuple[str | int, ...]

# Group 1: the axis; group 2: the closing brace. `$${` stands for `${`.
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")


class Unresolved(str):
    """A scalar whose `${axis}` has no value, so that nothing can be said about what it will be."""

    __slots__ = ()


def label(value: Scalar) -> str:
    """Return a value as ids and texts show it: `true`, `0.1`, `1e-06`, `1e20`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    # A plus sign has no place in a label.
    return repr(value).replace("+", "") if isinstance(value, float) else str(value)


def case_id(axes: Mapping[str, Scalar]) -> str:
    """Join the values of a case's axes into its id, the same in tests, lock and reports: `resnet18-h200-224`."""
    return "-".join([label(value) for value in axes.values()])


def substitute(value: Any, axes: Mapping[str, Scalar]) -> Any:
    """Return a plain copy of `value` with every `${axis}` replaced.

    A scalar that is a single reference takes the axis's value with its type; inside longer text the value is
    formatted by `label`. What refers to something that is not in `axes` comes out as `Unresolved`.
    """
    if isinstance(value, str):
        return _substitute_text(value, axes) if "${" in value else value
    if isinstance(value, dict):
        return {key: substitute(item, axes) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, axes) for item in value]
    return value


def references(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield where something below `value` refers to an axis, and to which; an unclosed one yields its `${`."""
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
