"""Expands axes to combinations, with `exclude` and `include` as in GitHub Actions. Pure.

The rules are those of `jobs.<job_id>.strategy.matrix` (docs.github.com, "Workflow syntax"):

- exclude comes first; an entry removes all combinations that agree with it;
- an include entry extends every combination of the axes that agrees with it on their values, and
  may overwrite the values that earlier include entries added;
- an include entry that agrees with no combination becomes a combination of its own, which later
  entries do not extend.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from harness.case_names import Scalar

    Combination = dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Expansion:
    """The combinations, where each comes from, and the exclude entries without effect."""

    combinations: list[Combination]
    """Those of the axes in the order of a nested loop, then those that include entries added."""
    added_by: list[int | None]
    """For each combination, the index of the include entry that added it; None if the axes did."""
    idle_excludes: list[int]
    """The indices of the exclude entries that match no combination."""


class _Index:
    """Finds the combinations that agree with an entry, without comparing every one of them."""

    def __init__(self, combinations: Sequence[Combination]) -> None:
        self._combinations = combinations
        self._by_axis: dict[str, dict[tuple[bool, Scalar], set[int]]] = {}

    def find(self, entry: Mapping[str, Scalar]) -> Collection[int]:
        found = [self._of_axis(axis).get(_distinct(value), set()) for axis, value in entry.items()]
        if not found:
            return range(len(self._combinations))
        return set.intersection(*sorted(found, key=len))

    def _of_axis(self, axis: str) -> dict[tuple[bool, Scalar], set[int]]:
        table = self._by_axis.get(axis)
        if table is None:
            table = self._by_axis[axis] = {}
            for number, combination in enumerate(self._combinations):
                table.setdefault(_distinct(combination[axis]), set()).add(number)
        return table


def expand(
    axes: Mapping[str, Sequence[Scalar]],
    exclude: Sequence[Mapping[str, Scalar]] = (),
    include: Sequence[Mapping[str, Scalar]] = (),
) -> Expansion:
    """Expand the axes to combinations.

    The keys of every combination have the same order: the axes, then the keys that only include
    entries have, in the order in which they appear. true and 1 are different values; 1 and 1.0 are
    the same value.
    """
    product = (
        [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
        if axes
        else []
    )
    index = _Index(product)
    excluded: set[int] = set()
    idle = []
    for number, entry in enumerate(exclude):
        found = index.find(entry)
        excluded.update(found)
        if not found:
            idle.append(number)
    combinations = [c for number, c in enumerate(product) if number not in excluded]
    added_by: list[int | None] = [None] * len(combinations)
    _include(combinations, added_by, set(axes), include)
    order = [*axes, *dict.fromkeys(key for entry in include for key in entry if key not in axes)]
    if len(order) > len(axes) or any(number is not None for number in added_by):
        combinations = [{key: c[key] for key in order if key in c} for c in combinations]
    return Expansion(combinations, added_by, idle)


def _include(
    combinations: list[Combination],
    added_by: list[int | None],
    axes: set[str],
    include: Iterable[Mapping[str, Scalar]],
) -> None:
    # A copy, because later entries do not extend the combinations that are added here.
    index = _Index(combinations.copy())
    for number, entry in enumerate(include):
        found = (
            index.find({key: value for key, value in entry.items() if key in axes}) if axes else []
        )
        extra = {key: value for key, value in entry.items() if key not in axes}
        for match in found:
            combinations[match].update(extra)
        if not found:
            combinations.append(dict(entry))
            added_by.append(number)


def _distinct(value: Scalar) -> tuple[bool, Scalar]:
    # Python has True == 1.
    return isinstance(value, bool), value
