"""Reads and checks the block `matrix` of a matrix file, and expands its axes to combinations."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.case_names import AXIS, LABEL, LABEL_FORM, MAIN_AXES, MAX_ID_LENGTH, case_id, label
from harness.matrix.combinations import expand
from harness.matrix.mistakes import shown
from harness.wording import closest, nearest

if TYPE_CHECKING:
    from harness.case_names import Scalar
    from harness.matrix.combinations import Combination
    from harness.matrix.mistakes import Mistakes

    Path = tuple[str | int, ...]

MAX_CASES = 100_000
"""The limit of combinations before exclude, and of entries in exclude and include together.

A larger matrix is a slip, and would not fit into memory.
"""
MAX_MATCHES = 100_000_000
"""The limit of combinations times the values in exclude and include, which bounds the time."""

_BLOCK = "matrix"
_ENTRIES = ("exclude", "include")
_LABEL = re.compile(LABEL)
_AXIS = re.compile(AXIS)


@dataclass(frozen=True, slots=True)
class Combinations:
    """The combinations of a matrix, and where each comes from."""

    axes: list[Combination]
    paths: list[Path]
    """For each combination, the include entry that added it, or the block of the axes."""
    names: list[str]
    """The names of all axes, including those that only include entries have."""


def read_axes(root: dict[str, Any], mistakes: Mistakes) -> Combinations:
    """Read the axes and expand those that are right; add the mistakes to `mistakes`."""
    block = root.get(_BLOCK)
    if not isinstance(block, dict):
        if _BLOCK in root:
            mistakes.add(
                (_BLOCK,), f"{shown(block)} is not allowed; a mapping of axes to lists of values"
            )
        return Combinations([], [], [])
    axes = _read_lists(block, mistakes)
    exclude = _read_entries(block, "exclude", mistakes)
    include = _read_entries(block, "include", mistakes)
    for path, entry in exclude:
        for key in entry:
            if key not in axes:
                mistakes.add((*path, key), f"is not an axis; {nearest(key, axes, 'axes')}")
    known = dict.fromkeys(axes)
    for path, entry in include:
        _check_included(path, entry, known, mistakes)
    names = list(known)
    _check_required(names, block, mistakes)
    if too_many := _too_many(axes, [entry for _, entry in exclude + include]):
        mistakes.add((_BLOCK,), too_many)
        return Combinations([], [], names)
    known_exclude = [
        (path, entry) for path, entry in exclude if entry and all(key in axes for key in entry)
    ]
    expansion = expand(axes, [entry for _, entry in known_exclude], [entry for _, entry in include])
    for number in expansion.idle_excludes:
        _note_idle(*known_exclude[number], axes, mistakes)
    if not expansion.combinations and axes and all(axes.values()):
        mistakes.add((_BLOCK,), "has no cases: exclude leaves no combination")
    paths = [(_BLOCK,) if n is None else include[n][0] for n in expansion.added_by]
    return Combinations(expansion.combinations, paths, names)


def check_ids(combinations: Combinations, mistakes: Mistakes) -> list[str]:
    """Return the ids of the cases, and add a mistake for each case that is incomplete.

    Ids that are equal, or too long for a file name, are mistakes as well.
    """
    first: dict[str, int] = {}
    ids = []
    incomplete = False
    for number, axes in enumerate(combinations.axes):
        identifier = case_id(axes)
        ids.append(identifier)
        missing = [axis for axis in MAIN_AXES if axis not in axes]
        if missing and all(axis in combinations.names for axis in missing) and not incomplete:
            # Reported once: one incomplete entry makes many incomplete combinations.
            incomplete = True
            mistakes.add(
                combinations.paths[number], f"the case {identifier} has no {', '.join(missing)}"
            )
        if len(identifier) > MAX_ID_LENGTH:
            mistakes.add(
                combinations.paths[number],
                f"the id {identifier} is longer than {MAX_ID_LENGTH} characters:"
                " shorten its labels",
            )
        other = first.setdefault(identifier, number)
        if other != number:
            mistakes.add(
                combinations.paths[number],
                f"two cases have the id {identifier}:"
                f" {_spelt(combinations.axes[other])} and {_spelt(axes)}",
            )
    return ids


def _read_lists(block: dict[str, Any], mistakes: Mistakes) -> dict[str, list[Scalar]]:
    """Return the values of each axis, the required axes first, in the order that ids have."""
    written = [key for key in block if key not in _ENTRIES]
    order = [axis for axis in MAIN_AXES if axis in written]
    order += [axis for axis in written if axis not in MAIN_AXES]
    axes: dict[str, list[Scalar]] = {}
    for axis in order:
        path, values = (_BLOCK, axis), block[axis]
        if not _AXIS.fullmatch(axis):
            mistakes.add(path, "is not a name for an axis; letters, digits, dashes and underscores")
        if not isinstance(values, list) or not values:
            hint = closest(axis, _ENTRIES)
            mistakes.add(
                path,
                f"{shown(values)} is not allowed; a list of one value or more"
                + (f" (did you mean {hint}?)" if hint else ""),
            )
            axes[axis] = []
            continue
        good: list[Scalar] = []
        axes[axis] = good
        there: set[tuple[bool, Scalar]] = set()
        for number, value in enumerate(values):
            hint = closest(axis, _ENTRIES) if isinstance(value, dict) else None
            if hint:
                mistakes.add(path, f"unknown key; did you mean {hint}?")
                break
            if not _is_label((*path, number), axis, value, mistakes):
                continue
            # true and 1 are different values, although Python has True == 1.
            if (isinstance(value, bool), value) in there:
                mistakes.add((*path, number), f"{shown(value)} is there twice: remove one")
                continue
            there.add((isinstance(value, bool), value))
            good.append(value)
    return axes


def _read_entries(
    block: dict[str, Any], kind: str, mistakes: Mistakes
) -> list[tuple[Path, dict[str, Scalar]]]:
    entries = block.get(kind)
    if entries is None:
        return []
    path: Path = (_BLOCK, kind)
    if not isinstance(entries, list):
        mistakes.add(path, f"{shown(entries)} is not allowed; a list of mappings of axes to values")
        return []
    read: list[tuple[Path, dict[str, Scalar]]] = []
    for number, entry in enumerate(entries):
        here: Path = (*path, number)
        if not isinstance(entry, dict) or not entry:
            what = "an empty mapping" if entry == {} else shown(entry)
            mistakes.add(here, f"{what} is not allowed; a mapping of axes to values")
            continue
        good = {
            axis: value
            for axis, value in entry.items()
            if _is_label((*here, axis), axis, value, mistakes)
        }
        # Without its bad value, an entry would match or add other combinations than it should.
        if len(good) == len(entry):
            read.append((here, good))
    return read


def _too_many(axes: dict[str, list[Scalar]], entries: list[dict[str, Scalar]]) -> str | None:
    """Return the reason why the matrix is too large to expand, or None when it is not."""
    size = math.prod(len(values) for values in axes.values())
    if size > MAX_CASES:
        return f"the axes have more than {MAX_CASES:,} combinations"
    if len(entries) > MAX_CASES or size * sum(map(len, entries)) > MAX_MATCHES:
        return f"exclude and include have too many entries for {size:,} combinations"
    return None


def _check_included(
    path: Path, entry: dict[str, Scalar], names: dict[str, None], mistakes: Mistakes
) -> None:
    """Check the axes that an include entry names, and add the new ones to `names`."""
    for axis in entry:
        if axis in names:
            continue
        close = closest(axis, MAIN_AXES, cutoff=0.8)
        if axis not in MAIN_AXES and close:
            mistakes.add((*path, axis), f"is not an axis; did you mean {close}?")
        elif not _AXIS.fullmatch(axis):
            mistakes.add(
                (*path, axis), "is not a name for an axis; letters, digits, dashes and underscores"
            )
        else:
            names[axis] = None


def _check_required(names: list[str], block: dict[str, Any], mistakes: Mistakes) -> None:
    for axis in MAIN_AXES:
        if axis not in names:
            close = closest(axis, (key for key in block if key not in MAIN_AXES))
            hint = f"; is {close} a misspelling of it?" if close else f": add {axis}: [...]"
            mistakes.add((_BLOCK,), f"the axis {axis} is missing{hint}")


def _is_label(path: Path, axis: str, value: object, mistakes: Mistakes) -> bool:
    """Return whether a value is allowed on its axis; add a mistake when it is not.

    It must be a scalar that is fit for ids. A model and a GPU must be strings.
    """
    if not isinstance(value, (str, int, float)) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        mistakes.add(path, f"{shown(value)} is not allowed; a string, a number, true or false")
    elif axis in ("model", "gpu") and not isinstance(value, str):
        mistakes.add(path, f'{shown(value)} is not a string: write "{label(value)}"')
    elif not _LABEL.fullmatch(label(value)):
        mistakes.add(path, f"{shown(value)} is not a label; {LABEL_FORM}")
    elif len(label(value)) > MAX_ID_LENGTH:
        mistakes.add(
            path, f"{shown(value)} is too long for an id; at most {MAX_ID_LENGTH} characters"
        )
    else:
        return True
    return False


def _note_idle(
    path: Path, entry: dict[str, Scalar], axes: dict[str, list[Scalar]], mistakes: Mistakes
) -> None:
    """Add a mistake for an exclude entry that matches nothing: a value is not on its axis."""
    axis = next((axis for axis, value in entry.items() if not _has(axes[axis], value)), None)
    # Otherwise an axis has no values at all, which was reported as a mistake of its own.
    if axis is not None:
        what = f"matches no combination: {axis} has no {shown(entry[axis])}"
        mistakes.add(path, f"{what}; remove or correct it")


def _has(values: list[Scalar], value: Scalar) -> bool:
    """Return whether a value is on an axis; true and 1 are different values."""
    return any(
        value == known and isinstance(value, bool) == isinstance(known, bool) for known in values
    )


def _spelt(axes: Combination) -> str:
    return "{" + ", ".join(f"{axis}: {shown(value)}" for axis, value in axes.items()) + "}"
