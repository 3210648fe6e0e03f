"""Reads arguments that are written as in the matrix, and cases that differ from it by them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.matrix.cases import parse_matrix
from harness.matrix.without_file import as_yaml
from harness.matrix.yaml12.reader import read_yaml
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.matrix.case import Case
    from harness.run.paths import Paths


def read_argument(flag: str, text: str) -> Any:
    """Read an argument as YAML, in the way of the matrix. Raises HarnessError, with the flag."""
    document = read_yaml(text)
    if document.problems:
        raise HarnessError(f"{flag} {text}: {document.problems[0].message}")
    return document.root


def read_spec(flag: str, text: str) -> dict[str, Any]:
    """Read a class path, or a mapping with one and its init_args."""
    value = read_argument(flag, text)
    spec = {"class_path": value} if isinstance(value, str) else value
    if not isinstance(spec, dict):
        raise HarnessError(
            f"{flag} {text}: a class path is needed, or {{class_path: …, init_args: {{…}}}}"
        )
    return dict(spec)


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read `search.steps_per_trial=2`, and others, into one mapping.

    Raises HarnessError for what is no name with a value, and for a name that another one contains.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        *blocks, key = parts = name.strip().split(".")
        if not equals or not all(parts):
            raise HarnessError(f"--set {text}: write NAME=VALUE, such as search.max_batch_size=64")
        place = settings
        for block in blocks:
            place = place.setdefault(block, {})
            if not isinstance(place, dict):
                raise HarnessError(f"--set {text}: {block} has a value by another --set")
        place[key] = read_argument(f"--set {name}", value)
    return settings


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with the values of another one over it, also inside of mappings."""
    both = dict(below)
    for key, value in above.items():
        known = both.get(key)
        if isinstance(known, str) and isinstance(value, dict):
            known = {"class_path": known}  # as `data: pkg.Data` on the command line
        inside = isinstance(known, dict) and isinstance(value, dict) and "class_path" not in value
        both[key] = merged(known, value) if inside and isinstance(known, dict) else value
    return both


def cases_with(
    case: Case,
    paths: Paths,
    *,
    axes: Mapping[str, Sequence[Any]],
    model: Mapping[str, Any] | None = None,
    gpu: Mapping[str, Any] | None = None,
) -> tuple[Case, ...]:
    """Return a case of the matrix at other values of its axes, which the matrix need not list.

    model, gpu: entries that take the place of those of the case, or of an axis's label.
    """
    root = read_yaml(Path(paths.matrix).read_text(encoding="utf-8-sig")).root
    asked = {**{axis: [value] for axis, value in case.axes.items()}, **axes}
    models, gpus = dict(root["models"]), dict(root["gpus"])
    if model is not None:
        models[str(asked["model"][0])] = model
    if gpu is not None:
        gpus[str(asked["gpu"][0])] = gpu
    changed = {**root, "matrix": asked, "models": models, "gpus": gpus}
    return parse_matrix(as_yaml(changed), shown_path(paths.matrix), paths.module_path)


def entries_of(case: Case, paths: Paths) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the matrix's entries of a case's model and GPU, as they are written."""
    root = read_yaml(Path(paths.matrix).read_text(encoding="utf-8-sig")).root
    return dict(root["models"][case.model]), dict(root["gpus"][case.gpu])
