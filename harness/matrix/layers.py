"""Merges the layers of settings: the top of the file, a model, a GPU; and keeps their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Path = tuple[str | int, ...]


def merge_layers(
    layers: Iterable[tuple[Path, Mapping[str, Any]]],
) -> tuple[dict[str, Any], dict[Path, Path]]:
    """Merge mappings recursively, the later ones over the earlier ones.

    A mapping with a class_path replaces the earlier mapping as a whole, so that no init_args of
    another class remain. Each layer comes with its path in the file. Returns the merged mapping,
    and the path in the file of each of its keys.
    """
    merged: dict[str, Any] = {}
    origins: dict[Path, Path] = {}
    for path, layer in layers:
        _merge_into(merged, layer, (), path, origins)
    return merged, origins


def _merge_into(
    target: dict[str, Any],
    layer: Mapping[str, Any],
    at: Path,
    path: Path,
    origins: dict[Path, Path],
) -> None:
    for key, value in layer.items():
        here, there = (*at, key), (*path, key)
        origins[here] = there
        if isinstance(value, dict) and "class_path" not in value:
            known = target.get(key)
            if not isinstance(known, dict) or "class_path" in known:
                known = target[key] = {}
            _merge_into(known, value, here, there, origins)
        else:
            target[key] = value


def origin(place: Path, origins: Mapping[Path, Path], kind: str) -> Path:
    """Return the path in the file at which a place in merged settings is, or would be, written."""
    for length in range(len(place), 0, -1):
        if place[:length] in origins:
            return (*origins[place[:length]], *place[length:])
    return (kind, *place)


def mapping_at(owner: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the mapping at a key; an empty one for anything else, which was reported before."""
    value = owner.get(key)
    return value if isinstance(value, dict) else {}
