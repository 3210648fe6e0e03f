"""Generates the JSON Schema of what `gpu-profile VERB --json` prints, and of report.json.

`python -m harness.cli.answers.json_schema > harness/output.schema.json` writes the shipped schema.
"""

from __future__ import annotations

import json
import sys
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter
from typing_extensions import is_typeddict

from harness.cli.answers.answer import VERSION, ErrorDocument
from harness.cli.verbs import VERBS
from harness.matrix.json_schema import attribute_docs, cleaned
from harness.measurement import Measurement
from harness.report.documents import MEASURED, Report, ReportedCase

_ERROR = "error"
_REPORT = "report.json"


def output_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of all documents.

    The whole schema fits any of them. `#/$defs/VERB` fits what one verb prints when it has an
    answer, `#/$defs/error` what any verb prints when it has none, and `#/$defs/report.json` that
    file. Objects may have further keys: later versions of gpu-profile add some.
    """
    answers = {verb.name: verb.document for verb in VERBS}
    types: dict[str, Any] = {**answers, _ERROR: ErrorDocument, _REPORT: Report}
    definitions = _definitions([*types.values(), Measurement])
    _add_measured(definitions)
    for name, one in types.items():
        document = definitions.pop(one.__name__)
        if name != _REPORT:
            verb = {"enum": [*answers, None]} if name == _ERROR else {"const": name}
            opening = {"version": {"const": VERSION}, "verb": verb}
            document["properties"] = opening | document["properties"]
            document["required"] = [*opening, *document["required"]]
        definitions[name] = document
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Output of gpu-profile",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in types],
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Return the schema as the text of the shipped file."""
    return json.dumps(output_schema(), indent=2, ensure_ascii=False) + "\n"


def _definitions(types: list[Any]) -> dict[str, dict[str, Any]]:
    """Return the definitions of types, and of all types inside them, by the names of their classes.

    Every key is there in each object, whatever the default of a dataclass's field.
    """
    known: dict[str, Any] = {}
    for one in types:
        _collect(one, known)
    adapters: list[Any] = [(one.__name__, "serialization", TypeAdapter(one)) for one in types]
    _, made = TypeAdapter.json_schemas(adapters)
    definitions: dict[str, dict[str, Any]] = cleaned(made["$defs"])
    assert known.keys() == definitions.keys(), "two classes of one name, or one that is not found"
    for name, definition in definitions.items():
        documented = attribute_docs(known[name])
        for field, value in definition["properties"].items():
            value.pop("default", None)
            if field in documented:
                value["description"] = " ".join(documented[field].split())
        if is_dataclass(known[name]):
            definition["required"] = [*definition["properties"]]
    return definitions


def _collect(one: Any, known: dict[str, Any]) -> None:
    """Add a class with named fields, and those inside it, by their names."""
    if is_typeddict(one) or is_dataclass(one):
        assert known.setdefault(one.__name__, one) is one, f"two classes {one.__name__}"
        for hint in get_type_hints(one).values():
            _collect(hint, known)
    for argument in get_args(one):
        _collect(argument, known)


def _add_measured(definitions: dict[str, dict[str, Any]]) -> None:
    """Add the values of a measurement to a case of report.json: each is null without one."""
    measured = definitions.pop(Measurement.__name__)["properties"]
    case = definitions[ReportedCase.__name__]
    for name in MEASURED:
        if name not in case["properties"]:
            text = measured[name].pop("description", None)
            or_null = {"anyOf": [measured[name], {"type": "null"}]}
            case["properties"][name] = or_null | ({"description": text} if text else {})
            case["required"].append(name)


if __name__ == "__main__":
    sys.stdout.write(schema_text())
