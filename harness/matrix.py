"""The matrix: a YAML file of axes, models and GPUs -> cases. All its mistakes are told at once, with their lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.axes import check_ids, read_axes
from harness.class_paths import ClassPaths
from harness.matrix_file import LABEL, LABEL_FORM, REQUIRED_AXES, MatrixFile
from harness.mistakes import MatrixError as MatrixError  # noqa: PLC0414 - a public name of this module
from harness.mistakes import Mistakes, nearest, shown
from harness.resolving import Context, Resolver, mapping_at
from harness.settings import CLASS_PATH, LAYER, CallableSpec
from harness.substitution import Unresolved, references, substitute
from harness.yaml12 import Document, read_yaml
from harness.yaml12_nodes import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.axes import Combinations
    from harness.measurement import Scalar
    from harness.settings import BoundsSettings, GpuSettings, LrRangeSettings, SearchSettings

    Place = tuple[str | int, ...]

_VERSION = 1
_MAX_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Case:
    """One combination of the matrix with everything that was set for it. Its mappings are shared: never change them."""

    id: str
    axes: dict[str, Scalar]
    """Model, GPU and resolution, then further axes in the file's order."""
    workload: dict[str, Any]
    """Ready for JSON: module, data, loss, optimizer (class_path and init_args, or None), batch_size_attr, learning_rate_attr."""
    device: GpuSettings
    trainer: dict[str, Any]
    """The Trainer's keywords that were given."""
    search: SearchSettings
    lr_range: LrRangeSettings
    bounds: BoundsSettings
    where: str
    """File and line of its model's definition."""

    @property
    def model(self) -> str:
        """The label of its model."""
        return str(self.axes["model"])

    @property
    def gpu(self) -> str:
        """The label of its GPU."""
        return str(self.axes["gpu"])

    @property
    def resolution(self) -> Scalar:
        """The size of its inputs."""
        return self.axes["resolution"]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The cases of one matrix file."""

    path: Path
    cases: tuple[Case, ...]


def load_matrix(path: Path, search_path: Sequence[str] = ()) -> Matrix:
    """Read a matrix and make its cases; nothing of what it names is imported.

    `search_path` is looked through for class paths before `sys.path`. Raises MatrixError with every mistake.
    """
    file = _shown_path(path)
    return Matrix(path, parse_matrix(_read_text(path, file), file, search_path))


def parse_matrix(text: str, file: str, search_path: Sequence[str] = ()) -> tuple[Case, ...]:
    """Make the cases of a matrix' text; `file` is what messages call it. Raises as `load_matrix`."""
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
    cases = _cases(root, combinations, context, lambda model: _where(file, document, model))
    mistakes.raise_any()
    assert cases, "a matrix without cases has a mistake"
    return tuple(cases)


def _read_text(path: Path, file: str) -> str:
    try:
        with path.open("rb") as stream:
            # Bounded: a device or a pipe might never end.
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise MatrixError(file, [Problem(1, f"cannot be read: {reason}")]) from error
    if len(data) > _MAX_BYTES:
        raise MatrixError(file, [Problem(1, f"larger than {_MAX_BYTES // 1024**2} MiB: this is no matrix")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MatrixError(file, [Problem(line, "not UTF-8: save the file as UTF-8")]) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _root(document: Document, mistakes: Mistakes) -> dict[str, Any]:
    """Return the file's mapping. Raises MatrixError at once when nothing else that is said would help."""
    root = document.root
    if not isinstance(root, dict):
        if not document.problems:
            mistakes.add(
                (), f"a mapping with {', '.join(MatrixFile.model_fields)} is needed; this is {shown(root)}"
            )
        mistakes.raise_any()
    version = root.get("version", _VERSION)
    if version != _VERSION or isinstance(version, bool):
        raise_now = Mistakes(mistakes.file, document)
        raise_now.add(("version",), f"{shown(version)} is not known; this harness reads version {_VERSION}")
        raise_now.raise_any()
    return dict(root)


def _check_file(root: dict[str, Any], axes: Sequence[str], mistakes: Mistakes) -> None:
    """Check all of the file but its axes; what `${axis}` stands for is left to each case."""
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
        elif name not in known:
            mistakes.add(path, f"${{{name}}}: no such axis; {nearest(name, axes, 'axes')}")
    _check_labels(root, mistakes)


def _check_labels(root: dict[str, Any], mistakes: Mistakes) -> None:
    """Check the labels of models and GPUs, and that those on the axes are defined."""
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


def _cases(
    root: dict[str, Any], combinations: Combinations, context: Context, where: Callable[[str], str]
) -> list[Case]:
    """Make the cases of all combinations whose settings are right; notes what is wrong with the others."""
    resolver = Resolver(root, context)
    places = {
        label: where(label) for label, entry in mapping_at(root, "models").items() if isinstance(entry, dict)
    }
    gpus = {label for label, entry in mapping_at(root, "gpus").items() if isinstance(entry, dict)}
    cases = []
    for axes, identifier in zip(combinations.axes, check_ids(combinations, context.mistakes), strict=True):
        complete = all(axis in axes for axis in REQUIRED_AXES)
        if not complete or axes["model"] not in places or axes["gpu"] not in gpus:
            continue
        settings = resolver.resolve(axes, identifier)
        if settings is not None:
            cases.append(Case(id=identifier, axes=axes, where=places[str(axes["model"])], **settings))
    return cases


def _definitions(root: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the file in which `${axis}` is replaced."""
    return {key: value for key, value in root.items() if key not in ("version", "matrix")}


def _axis_values(root: dict[str, Any], axis: str) -> Iterator[tuple[Place, Any]]:
    """Yield every value of an axis, of the axis itself and of include, with its place."""
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


def _check_spec(place: Place, spec: dict[str, Any], checker: ClassPaths, mistakes: Mistakes) -> None:
    """Check a class_path with its init_args, also where it is nested in the init_args of another."""
    try:
        CallableSpec.model_validate(spec)
    except ValidationError as error:
        mistakes.add_invalid(CallableSpec, error, lambda below: (*place, *below))
    class_path = spec["class_path"]
    if isinstance(class_path, Unresolved) or not re.match(CLASS_PATH, str(class_path)):
        return
    verdict = checker.check(class_path)
    if verdict.answer == "missing":
        mistakes.add((*place, "class_path"), verdict.message)


def _where(file: str, document: Document, model: str) -> str:
    return f"{file}:{document.position(('models', model)).line}"


def _shown_path(path: Path) -> str:
    """Return the path as messages show it: relative to the working directory where it is below it."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)
