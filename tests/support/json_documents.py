"""Checks what the verbs print under `--json` against the schema of their documents."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped] # its types are published apart

from harness.cli.answers.json_schema import output_schema
from harness.cli.command_line import main

if TYPE_CHECKING:
    from command_line import Output


@cache
def closed_schema() -> dict[str, Any]:
    """Return the schema in a form that allows no key which it does not name."""
    schema: dict[str, Any] = _closed(output_schema())
    return schema


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: _closed(item) for key, item in schema.items()}
    return inside | {"additionalProperties": False} if "properties" in schema else inside


def assert_described(content: Any, name: str) -> None:
    """Check a document against the definition of a verb, of `error` or of `report.json`."""
    schema = {"$ref": f"#/$defs/{name}", "$defs": closed_schema()["$defs"]}
    jsonschema.validate(content, schema, jsonschema.Draft202012Validator)


def document(capsys: Output, *arguments: str, code: int, kind: str | None = None) -> Any:
    """Run a verb with `--json`; return the document that it prints, and check it.

    code: the exit code that is expected. kind: the definition, if it is not that of the verb.
    """
    assert code == main([*arguments, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert_described(printed, kind or arguments[0])
    return printed
