"""The answer of a verb, in words and as a JSON document, and the document of an error.

A verb says its words with `common.say`, which is silent under `--json`, and returns an `Answer`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

# pydantic, which makes the schema of these, wants this one before Python 3.12.
from typing_extensions import TypedDict

from harness.report.plain_data import plain_data

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOUND = "gpu_profile_found"

VERSION = 1
"""The version of all documents: their keys keep their meaning, and others may be added."""

# GitHub and others obey `##[...]` anywhere in a line of a log.
_OBEYED = re.compile(r"#(?=#\w*+\[)")

ErrorKind = Literal[
    "usage",
    "input",
    "matrix",
    "lock",
    "device",
    "machine",
    "workload",
    "system",
    "interrupted",
]

_KINDS: dict[str, ErrorKind] = {
    "MatrixError": "matrix",
    "LockError": "lock",
    "NoSuchDeviceError": "device",
    "MachineError": "machine",
    "WorkloadError": "workload",
    "HarnessError": "input",
    "OSError": "system",
    "KeyboardInterrupt": "interrupted",
}
"""The kind of an error by the name of its class, or of the nearest class above it."""


class Answer(NamedTuple):
    """What a verb has found."""

    code: int
    """The exit code: 0 all is well, 1 something differs or does not fit."""
    document: Mapping[str, object]
    """The TypedDict of the verb. The door adds `version` and `verb`, writes tuples as lists and NaN
    as null; so the verb takes the values as they are."""


class Error(TypedDict):
    """The reason for which there is no answer."""

    kind: ErrorKind
    """`usage`: wrong arguments; `input`: a value or a file that cannot be used; `matrix`, `lock`:
    mistakes in these files; `device`: no such device here; `machine`: a busy GPU, a full disk;
    `workload`: it cannot be built, or fails; `system`: what the operating system refuses;
    `interrupted`: Ctrl-C."""
    message: str
    """As on standard error without `--json`; of several mistakes each has a line."""
    detail: str | None
    """The traceback of the user's code."""
    found: dict[str, Any] | None
    """What the verb has found by then, as its document has it."""


class ErrorDocument(TypedDict):
    """The answer of a verb that has none: exit code 2, and 130 after Ctrl-C."""

    error: Error


def error_document(error: BaseException) -> ErrorDocument:
    """Return the document of an error."""
    names = [one.__name__ for one in type(error).__mro__]
    # The parser's own error is below none of these.
    kind: ErrorKind = next((_KINDS[name] for name in names if name in _KINDS), "usage")
    message = "interrupted" if kind == "interrupted" else str(error)
    notes = getattr(error, "__notes__", ())
    return {
        "error": {
            "kind": kind,
            "message": "\n".join([message, *notes]),
            "detail": getattr(error, "detail", None) or None,
            "found": getattr(error, _FOUND, None),
        }
    }


def keep_found(error: BaseException, document: Mapping[str, object]) -> None:
    """Let the document of an error hold what was found before it."""
    setattr(error, _FOUND, document)


def document_text(verb: str | None, document: Mapping[str, object]) -> str:
    """Return a document as text, with its version and its verb."""
    return json_text({"version": VERSION, "verb": verb, **document})


def json_text(content: Any) -> str:
    """Return data as JSON with a line break at its end.

    Each character that cannot be seen is escaped, as JSON escapes it, and so are half characters,
    which UTF-8 lacks: nothing in a name steers the terminal, or the log of a CI system.
    """
    text = json.dumps(plain_data(content), indent=2, ensure_ascii=False, allow_nan=False)
    lines = [line if line.isprintable() else _escaped(line) for line in text.split("\n")]
    return _OBEYED.sub(r"\\u0023", "\n".join(lines)) + "\n"


def _escaped(line: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
