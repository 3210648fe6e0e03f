"""Loads a matrix file into cases, and reports all its mistakes at once, with their lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.case_names import LABEL, LABEL_FORM, MAIN_AXES
from harness.matrix import commands, loggers
from harness.matrix.axes import check_ids, read_axes
from harness.matrix.callables import CallableSpec
from harness.matrix.case_settings import Context, Resolver
from harness.matrix.class_paths import ClassPaths
from harness.matrix.field_types import CLASS_PATH, LAYER
from harness.matrix.file_model import MatrixFile
from harness.matrix.layers import mapping_at
from harness.matrix.mistakes import MatrixError, Mistakes, shown
from harness.matrix.presets import LAYERS
from harness.matrix.references import Unresolved, references, substitute
from harness.matrix.yaml12.nodes import Problem
from harness.matrix.yaml12.reader import Document, read_yaml
from harness.wording import nearest, shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from harness.matrix.axes import Combinations
    from harness.matrix.case import Case
    from harness.matrix.presets import Preset, PresetChoice

    Place = tuple[str | int, ...]

_VERSION = 1
_PRESET = "preset"
# `models`, a label, `command`.
_COMMAND_DEPTH = 3
# The keys in which `${axis}` is not replaced.
_LITERAL = ("version", "matrix", _PRESET)
# A case has some 300 bytes where each is written out, and the limit of values is half a million.
_MAX_BYTES = 8 * 1024**2


def load_matrix(
    path: Path, search_path: Sequence[str] = (), preset: PresetChoice | None = None
) -> tuple[Case, ...]:
    """Read a matrix file and return its cases, without importing anything that it names.

    Class paths are looked up in the folders of `search_path`, then in `sys.path`. Raises
    MatrixError, which holds every mistake.

    preset: a preset in place of the file's own; None: the file's.
    """
    file = shown_path(path)
    return parse_matrix(_read_text(path, file), file, search_path, preset)


def parse_matrix(
    text: str, file: str, search_path: Sequence[str] = (), preset: PresetChoice | None = None
) -> tuple[Case, ...]:
    """Return the cases of a matrix, given as text; `file` is its name in messages.

    The other arguments and the error are those of `load_matrix`.
    """
    document = read_yaml(text)
    mistakes = Mistakes(file, document)
    root = _root(document, mistakes)
    checker = ClassPaths(search_path)

    def check_class_paths(value: Any, locate: Callable[[Place], Place]) -> None:
        for place, spec in _specs(value):
            _check_spec(locate(place), spec, checker, mistakes)

    combinations = read_axes(root, mistakes)
    _check_file(root, combinations.names, mistakes)
    check_class_paths(substitute(_definitions(root), {}), lambda place: place)
    context = Context(frozenset(combinations.names), mistakes, check_class_paths)
    cases = _cases(root, combinations, Resolver(root, context, _preset(root, preset)))
    mistakes.raise_any()
    assert cases, "a matrix without cases has a mistake"
    return tuple(cases)


def lines_of_models(path: Path) -> dict[str, int]:
    """Return the line of each entry below `models` in a matrix that has been loaded before.

    Returns nothing where the file can no longer be read.
    """
    try:
        document = read_yaml(_read_text(path, shown_path(path)))
    except MatrixError:
        return {}
    root = document.root if isinstance(document.root, dict) else {}
    return {name: document.position(("models", name)).line for name in mapping_at(root, "models")}


def _read_text(path: Path, file: str) -> str:
    remedy = "write the matrix there, or name another file with --gpu-profile-matrix"
    try:
        data = read_bounded(path, _MAX_BYTES)
    except UnreadableFileError as error:
        raise MatrixError(file, [Problem(1, f"{error}; {remedy}")]) from error
    if data is None:
        raise MatrixError(
            file, [Problem(1, f"cannot be read: No such file or directory; {remedy}")]
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MatrixError(file, [Problem(line, "not UTF-8: save the file as UTF-8")]) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _root(document: Document, mistakes: Mistakes) -> dict[str, Any]:
    """Return the mapping at the top of the file.

    Raises MatrixError when there is none, or when its version is not known: other mistakes would
    only mislead.
    """
    root = document.root
    if not isinstance(root, dict):
        if not document.problems:
            mistakes.add(
                (),
                f"{shown(root)} is not allowed; a mapping of {', '.join(MatrixFile.model_fields)}",
            )
        mistakes.raise_any()
    version = root.get("version", _VERSION)
    if version != _VERSION or isinstance(version, bool):
        raise_now = Mistakes(mistakes.file, document)
        raise_now.add(
            ("version",),
            f"{shown(version)} is not known; this gpu-profile reads version {_VERSION}",
        )
        raise_now.raise_any()
    return dict(root)


def _check_file(root: dict[str, Any], axes: Sequence[str], mistakes: Mistakes) -> None:
    """Check the whole file but its axes, and leave values with `${axis}` to the checks of cases."""
    data = {**root, **{key: substitute(value, {}) for key, value in _definitions(root).items()}}
    if "matrix" in data:
        data["matrix"] = {}
    try:
        MatrixFile.model_validate(data, context=LAYER)
    except ValidationError as error:
        mistakes.add_invalid(MatrixFile, error, lambda place: place)
    known = frozenset(axes)
    for path, name in references(_definitions(root)):
        if name.startswith("${"):
            mistakes.add(path, f"{name} has no closing brace; write $${{ for a plain ${{")
        elif (
            name not in known
            and not (_in_command(path) and name == commands.BATCH_SIZE)
            and not loggers.is_case(path, name)
        ):
            # Hydra and shells have references of their own, which a command may hand over.
            own = f"; write $${{{name}}} for one of the program's own" * _in_command(path)
            hint = nearest(name, loggers.names(path, axes), "axes")
            mistakes.add(path, f"${{{name}}}: no such axis; {hint}{own}")
    _check_labels(root, mistakes)


def _in_command(path: Place) -> bool:
    """Return whether a place is that of a command, whose batch size each probe replaces."""
    return len(path) == _COMMAND_DEPTH and (path[0], path[2]) == ("models", commands.KEY)


def _check_labels(root: dict[str, Any], mistakes: Mistakes) -> None:
    """Check the labels of models and GPUs, and whether the labels on the axes are defined."""
    for block, axis in (("models", "model"), ("gpus", "gpu")):
        definitions = root.get(block)
        if not isinstance(definitions, dict):
            continue
        for label in definitions:
            if not re.fullmatch(LABEL, label):
                mistakes.add((block, label), f"is not a label; {LABEL_FORM}")
        for place, value in _axis_values(root, axis):
            if isinstance(value, str) and re.fullmatch(LABEL, value) and value not in definitions:
                hint = nearest(value, definitions, f"labels below {block}")
                mistakes.add(place, f"{value} is not defined below {block}; {hint}")


def _preset(root: dict[str, Any], choice: PresetChoice | None) -> Preset | None:
    """Return the preset of the run; one of the file that is wrong was reported before."""
    if choice is not None:
        return None if choice == "none" else choice
    return next((name for name in LAYERS if name == root.get(_PRESET)), None)


def _cases(root: dict[str, Any], combinations: Combinations, resolver: Resolver) -> list[Case]:
    """Return the cases whose settings are right; add the mistakes of the others."""
    models = {
        label for label, entry in mapping_at(root, "models").items() if isinstance(entry, dict)
    }
    gpus = {label for label, entry in mapping_at(root, "gpus").items() if isinstance(entry, dict)}
    cases = []
    for axes, identifier in zip(
        combinations.axes, check_ids(combinations, resolver.mistakes), strict=True
    ):
        complete = all(axis in axes for axis in MAIN_AXES)
        if not complete or axes["model"] not in models or axes["gpu"] not in gpus:
            continue
        case = resolver.resolve(axes, identifier)
        if case is not None:
            cases.append(case)
    return cases


def _definitions(root: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the file in which `${axis}` is replaced."""
    return {key: value for key, value in root.items() if key not in _LITERAL}


def _axis_values(root: dict[str, Any], axis: str) -> Iterator[tuple[Place, Any]]:
    """Yield every value of an axis, with its place: in the axis itself and in include."""
    block = root.get("matrix")
    if not isinstance(block, dict):
        return
    values, include = block.get(axis), block.get("include")
    for number, value in enumerate(values if isinstance(values, list) else ()):
        yield ("matrix", axis, number), value
    for number, entry in enumerate(include if isinstance(include, list) else ()):
        if isinstance(entry, dict) and axis in entry:
            yield ("matrix", "include", number, axis), entry[axis]


def _specs(value: Any, place: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield every mapping below `value` that has a class_path, with its place."""
    if isinstance(value, dict):
        if "class_path" in value:
            yield place, value
        for key, item in value.items():
            yield from _specs(item, (*place, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _specs(item, (*place, number))


def _check_spec(
    place: Place, spec: dict[str, Any], checker: ClassPaths, mistakes: Mistakes
) -> None:
    """Check one mapping that has a class_path, and whether the class_path can be imported."""
    try:
        CallableSpec.model_validate(spec)
    except ValidationError as error:
        mistakes.add_invalid(CallableSpec, error, lambda below: (*place, *below))
    class_path = spec["class_path"]
    if isinstance(class_path, Unresolved) or not re.match(CLASS_PATH, str(class_path)):
        return
    if loggers.may_be_absent(place, class_path, checker):
        return
    found = checker.check(class_path)
    if found.answer == "missing":
        mistakes.add((*place, "class_path"), found.message)
