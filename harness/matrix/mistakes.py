"""Collects the mistakes in a matrix, and reports all of them at once as `FILE:LINE: ...`."""

from __future__ import annotations

import json
import typing
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from harness.errors import HarnessError
from harness.matrix.field_types import CROSS_FIELD, Allowed
from harness.matrix.references import Unresolved
from harness.matrix.trainer_settings import REFUSED, TrainerSettings
from harness.matrix.yaml12.nodes import Problem
from harness.visible import one_line
from harness.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from harness.matrix.yaml12.reader import Document

    Path = tuple[str | int, ...]

_MAX_SHOWN = 60
_MAX_MESSAGE = 1_000
_MAX_MISTAKES = 100
# One setting may be wrong in thousands of cases, with another message in each of them.
_MAX_PER_PLACE = 5
# pydantic's errors that do not depend on an axis's value, which is never a mapping or a list.
_WHATEVER_THE_VALUE = ("extra_forbidden", "model_type", "dict_type", "list_type", "tuple_type")


class MatrixError(HarnessError):
    """The matrix has mistakes; the text has one line `FILE:LINE: mistake` for each of them."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        shown = [
            f"{file}:{problem.line}: {_shown_message(problem.message)}"
            for problem in self.problems[:_MAX_MISTAKES]
        ]
        if len(self.problems) > _MAX_MISTAKES:
            line = self.problems[_MAX_MISTAKES].line
            shown.append(f"{file}:{line}: there are more mistakes: correct these first")
        super().__init__("\n".join(shown))


class Mistakes:
    """The mistakes found so far in one file."""

    def __init__(self, file: str, document: Document) -> None:
        self.file = file
        self._document = document
        self._problems = set(document.problems)
        self._places: dict[Path, int] = {}

    def add(self, path: Path, message: str) -> None:
        """Add a mistake at the key or item at `path`; the message is shown behind the path.

        Raises MatrixError once there are more mistakes than anyone reads, because finding all of
        them may take long.
        """
        where = dotted(path)
        problem = Problem(
            self._document.position(path).line, f"{where}: {message}" if where else message
        )
        self._places[path] = self._places.get(path, 0) + (problem not in self._problems)
        if self._places[path] <= _MAX_PER_PLACE:
            self._problems.add(problem)
        if len(self._problems) > _MAX_MISTAKES:
            self.raise_any()

    def add_invalid(
        self,
        model: type[BaseModel],
        error: ValidationError,
        locate: Callable[[Path], Path],
    ) -> None:
        """Add the mistakes that pydantic found in data that `model` validated.

        `locate` turns a place in the data into a path in the file.
        """
        for details in error.errors(include_url=False):
            if _is_unresolved(details["input"]) and details["type"] not in _WHATEVER_THE_VALUE:
                continue
            place, message = describe_invalid(model, details)
            self.add(locate(place), message)

    def raise_any(self) -> None:
        """Raise MatrixError when there is any mistake."""
        if self._problems:
            raise MatrixError(self.file, self._problems)


def _is_unresolved(value: object) -> bool:
    """Return whether a value, or an item of a list, refers to an axis and so is not known yet."""
    return isinstance(value, Unresolved) or (
        isinstance(value, list) and any(map(_is_unresolved, value))
    )


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as people write it: `trainer.callbacks[0].class_path`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def shown(value: object) -> str:
    """Return a value as the file spells it; cut a long text, and only name a mapping or a list."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, float) else repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def describe_invalid(model: type[BaseModel], details: ErrorDetails) -> tuple[Path, str]:
    """Return the place and the message of one of pydantic's errors.

    The place is a path in the data that `model` validated.
    """
    place: Path = tuple(details["loc"])
    if details["type"] == CROSS_FIELD:
        context = details["ctx"]
        return (*place, context["field"]) if context["field"] else place, context["message"]
    owner, field = _field_at(model, place[:-1])
    if details["type"] == "extra_forbidden":
        return place, _unknown_key(owner, str(place[-1]))
    if details["type"] == "missing":
        allowed = _allowed(*_field_at(model, place))
        return place[:-1], f"{place[-1]} is missing; {allowed}"
    owner, field = _field_at(model, place)
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, ValueError) and isinstance(details["input"], (str, int, float)):
        return place, str(cause)
    return place, f"{shown(details['input'])} is not allowed; {_allowed(owner, field)}"


def _unknown_key(owner: type[BaseModel] | None, key: str) -> str:
    if owner is TrainerSettings and key in REFUSED:
        return f"not to be set here: {REFUSED[key]}"
    return f"unknown key; {nearest(key, owner.model_fields if owner else (), 'known keys')}"


def _field_at(
    model: type[BaseModel], place: Path
) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """Return the model at a place, if a model is there, and the last field on the way to it."""
    owner: type[BaseModel] | None = model
    field: FieldInfo | None = None
    annotation: Any = model
    for part in place:
        if owner is not None:
            field = owner.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            annotation = _item(annotation)
        annotation = _not_none(annotation)
        owner = (
            annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel)
            else None
        )
    return owner, field


def _item(annotation: Any) -> Any:
    """Return the type of the values of a mapping or a list; None if it is not known."""
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if arguments else None


def _not_none(annotation: Any) -> Any:
    if get_origin(annotation) is typing.Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        rest = [argument for argument in get_args(annotation) if argument is not NoneType]
        return _not_none(rest[0]) if len(rest) == 1 else None
    return annotation


def _allowed(owner: type[BaseModel] | None, field: FieldInfo | None) -> str:
    """Return what is allowed at a place, from the field's `Allowed` or else from its type."""
    if owner is not None:
        return f"a mapping of {', '.join(owner.model_fields)}"
    if field is None:
        return "a mapping"
    if marker := _marker([*reversed(field.metadata), field.annotation]):
        return marker.words
    annotation = _not_none(field.annotation)
    if annotation is bool:
        return "true or false"
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(_as_written(value) for value in get_args(annotation))}"
    return "a mapping"


def _as_written(value: object) -> str:
    """Return a choice as the file spells it, but a string without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def _shown_message(text: str) -> str:
    return one_line(text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…")


def _marker(things: Iterable[Any]) -> Allowed | None:
    """Return the outermost `Allowed` among annotations, or None."""
    inner: list[Any] = []
    for thing in things:
        if isinstance(thing, Allowed):
            return thing
        if get_origin(thing) is typing.Annotated:
            base, *metadata = get_args(thing)
            inner += [*reversed(metadata), base]
        elif get_origin(thing) in (Union, UnionType):
            inner += get_args(thing)
    return _marker(inner) if inner else None
