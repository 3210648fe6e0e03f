"""Experiments 11 to 13: the convolutions of twenty networks, and how their rows are read."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from cuda_experiments.networks import NETWORKS
from cuda_experiments.processes import lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cuda_experiments.setting import Note, Setting

KINDS = ("fprop", "dgrad", "wgrad")
"""Forward, the gradient of the data, that of the weights."""
COLUMNS = (
    "kind",
    "dtype",
    "input",
    "weight",
    "gradient",
    "stride",
    "padding",
    "dilation",
    "transposed",
    "groups",
    "formats",
    "backend",
    "passing",
    "at_once",
    "kept",
    "count",
)
"""Of a row. kind: one of `KINDS`. input, weight, gradient: shapes. formats: theirs.
passing: the bytes of each block that came and went within the operation, in the order of their
ends. at_once: the most of these at one time. kept: the bytes of what it returned. count: how often
the same row came in one step."""
_ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_BATCH, _SMALL_BATCH = 32, 8


def plain_workspaces(setting: Setting, note: Note) -> None:
    """Watch the convolutions in float32."""
    _watched(setting, note, "float32", _BATCH)


def half_workspaces(setting: Setting, note: Note) -> None:
    """Watch the convolutions under autocast in bfloat16."""
    _watched(setting, note, "bfloat16", _BATCH)


def small_workspaces(setting: Setting, note: Note) -> None:
    """Watch the convolutions of small batches in float32: how workspaces grow with the batch."""
    _watched(setting, note, "float32", _SMALL_BATCH)


def _watched(setting: Setting, note: Note, dtype: str, batch_size: int) -> None:
    """Train each network in one process; a network that ends it is left out of the next one."""
    ending = f"{dtype}, batch {batch_size}"
    names = setting.some(NETWORKS, "resnet18", "unet")
    left = [name for name in names if f"{name}, {ending}" not in note]
    expected = setting.expected.get("networks", {}).get(ending, {})
    while left:
        begun = None
        for line in lines(
            "record",
            setting.environment(),
            setting.directory / f"workspaces-{dtype}-{batch_size}.log",
            networks=left,
            batch_size=batch_size,
            dtype=dtype,
        ):
            begun = line.get("begins", begun)
            if "network" in line:
                name, fact = line["network"], line["fact"]
                if name in expected:
                    fact["simulated"] = expected[name]
                note(f"{name}, {ending}", fact)
                left.remove(name)
        if begun is not None and begun in left:
            note(f"{begun}, {ending}", {"error": "its process ended: see the log"})
            left.remove(begun)
        elif begun is None:
            note(f"no network, {ending}", {"error": "the process did not begin: see the log"})
            return


def rows_of(fact: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a network's fact by the names of `COLUMNS`, with their `workspace`."""
    for values in fact.get("rows", ()):
        row = dict(zip(fact["columns"], values, strict=True))
        yield row | {"workspace": workspace_bytes(row)}


def workspace_bytes(row: dict[str, Any]) -> int:
    """Return the bytes of the workspace within one operation of a row.

    That is the most that came and went at once, less copies of operands: where the memory formats
    differ, one block of an operand's own size is its copy. Where cuDNN's first plan fails, the next
    one has a workspace after it.
    """
    passing: list[int] = [*row["passing"]]
    copies = 0
    formats = {name for name in row["formats"] if name != "both"}
    if len(formats) > 1 or "strided" in formats:
        for shape in (row["input"], row["weight"], row["gradient"]):
            size = prod(shape) * _ITEM_BYTES[row["dtype"]] if shape else 0
            if size in passing:
                passing.remove(size)
                copies += size
    return int(row["at_once"]) - copies if passing else 0
