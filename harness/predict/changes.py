"""Lists the changes of a case that may make its largest batch larger. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from harness.protocol.case import ModuleChange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.matrix.case import Case

# What the Trainer takes for float32; None is its default.
_FLOAT32 = (None, "32-true", "32", 32)
_MIXED = "bf16-mixed"
# The ends of the names of arguments that hold the length of a text.
_LENGTHS = ("length", "len", "block_size", "n_positions", "max_position_embeddings", "tokens")


@dataclass(frozen=True)
class Change:
    """One change, and the case that has it."""

    name: str
    case: Case


def changes_of(case: Case, halved: Case | None) -> tuple[Change, ...]:
    """Return the changes that a case's settings allow, each for itself.

    Whether the module and its optimizer offer them shows only in a probe.

    halved: the same case at half its resolution; None where it has none.
    """
    changes = []
    if case.trainer.get("precision") in _FLOAT32:
        trainer = {**case.trainer, "precision": _MIXED}
        changes.append(Change(_MIXED, replace(case, trainer=trainer)))
    for change in get_args(ModuleChange):
        workload = {**case.workload, "changes": [change]}
        changes.append(Change(change, replace(case, workload=workload)))  # type: ignore[arg-type]  # a TypedDict with one more of its keys
    if halved is not None and halved.workload != case.workload:
        changes.append(Change(_half(case, halved), halved))
    return tuple(
        replace(one, case=replace(one.case, id=f"{case.id} with {one.name}")) for one in changes
    )


def half_of(resolution: Any) -> int | None:
    """Return half of a resolution; None where it is no number that has a half."""
    if isinstance(resolution, bool) or not isinstance(resolution, int):
        return None
    return resolution // 2 or None


def _half(case: Case, halved: Case) -> str:
    """Return what is halved, by the names of the arguments that differ."""
    names = [name for name in _differing(case.workload, halved.workload) if name]
    texts = any(name.lower().endswith(_LENGTHS) for name in names)
    return "half the length" if texts else "half the resolution"


def _differing(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """Yield the name of each value that two workloads do not share."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            yield from _differing(one[key], other.get(key), str(key))
    elif isinstance(one, list) and isinstance(other, list):
        for mine, yours in zip(one, other, strict=False):
            yield from _differing(mine, yours, name)
    elif one != other:
        yield name
