"""Generates the JSON Schema of a matrix file, with which editors complete and check it.

`python -m harness.matrix.json_schema > harness/matrix.schema.json` writes the shipped schema.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from harness.matrix.field_types import Settings
from harness.matrix.file_model import MatrixFile

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFERENCE = {
    "type": "string",
    "pattern": r"\$\{[^}]+\}",
    "description": 'A reference to the case\'s value of an axis: "${resolution}".',
}
# The models in which `${axis}` is not replaced.
_LITERAL = ("MatrixFile", "AxesSettings")


def matrix_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a matrix file.

    The schema checks single values. `load_matrix` also checks the rules between values.
    """
    schema = MatrixFile.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    models = {model.__name__: model for model in _subclasses(Settings)}
    for name, definition in [*definitions.items(), ("MatrixFile", schema)]:
        documented = _all_docs(models[name])
        for field, value in definition["properties"].items():
            if field in documented:
                value["description"] = documented[field]
            if name not in _LITERAL:
                definition["properties"][field] = _or_reference(value)
    definitions["Reference"] = _REFERENCE
    document = cleaned(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "GPU profile matrix",
        **document,
    }


def schema_text() -> str:
    """Return the schema as the text of the shipped file."""
    return json.dumps(matrix_schema(), indent=2, ensure_ascii=False) + "\n"


def _or_reference(value: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that also allows `${axis}`, except for mappings and lists.

    No axis has a mapping or a list for a value.
    """
    annotations: dict[str, Any] = {
        key: value[key] for key in ("description", "default") if key in value
    }
    kinds = value.get(
        "anyOf", [{key: item for key, item in value.items() if key not in annotations}]
    )
    if all("$ref" in kind or kind.get("type") in ("object", "array", "null") for kind in kinds):
        return value
    return {**annotations, "anyOf": [*kinds, {"$ref": "#/$defs/Reference"}]}


def cleaned(value: Any) -> Any:
    """Return a schema without generated titles and defaults of null, which tell a user nothing."""
    if isinstance(value, dict):
        return {
            key: cleaned(item)
            for key, item in value.items()
            if not (key == "title" and isinstance(item, str))
            and not (key == "default" and item is None)
        }
    return [cleaned(item) for item in value] if isinstance(value, list) else value


def _all_docs(model: type[Settings]) -> dict[str, str]:
    """Return the docstrings below the attributes of a model and its bases."""
    docs: dict[str, str] = {}
    for base in reversed([base for base in model.__mro__ if issubclass(base, Settings)]):
        docs |= attribute_docs(base)
    return docs


def attribute_docs(one: type) -> dict[str, str]:
    """Return the docstrings below the attributes that stand in the body of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        statement.target.id: str(after.value.value)
        for statement, after in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }


def _subclasses(model: type[Settings]) -> Iterator[type[Settings]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


if __name__ == "__main__":
    sys.stdout.write(schema_text())
