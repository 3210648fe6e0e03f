"""Reads YAML by the core schema of YAML 1.2, with the position of every key and item.

Only PyYAML's parser is used (libyaml's, where that is built in). Its resolvers follow YAML 1.1
(`no` is false, `12:30` is 750, `1e-6` is a string), its constructor lets the last duplicate key
win, and its composer recurses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from harness.matrix.yaml12.nodes import Map, Position, Problem, Seq
from harness.matrix.yaml12.tree_builder import Builder, StopReadingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    PathParts = Sequence[str | int]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# The line breaks that only YAML 1.1 knows are not allowed: PyYAML would count them as lines.
_NOT_ALLOWED = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}?")


@dataclass(frozen=True)
class Document:
    """A document: plain values in `Map`s and `Seq`s, and the mistakes found while reading."""

    root: Any
    problems: tuple[Problem, ...]

    def position(self, path: PathParts) -> Position:
        """Return the position of the key or item at `path`.

        If the path is not in the file, return the position of its last part that is.
        """
        node, at = self.root, Position(1, 1)
        for part in path:
            if isinstance(node, Map) and part in node:
                at = node.keys_at[part]
                node = node[part]
            elif isinstance(node, Seq) and isinstance(part, int) and part < len(node):
                at = node.items_at[part]
                node = node[part]
            else:
                break
        return at


def read_yaml(text: str) -> Document:
    """Read one YAML document; mistakes in it are in `Document.problems` and raise no exception."""
    if bad := _NOT_ALLOWED.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        message = (
            f"the character U+{ord(bad[0]):04X} is not allowed: remove it, or escape it in quotes"
        )
        return Document(None, (Problem(line, message),))
    builder = Builder()
    try:
        for event in _events(text):
            builder.feed(event)
    except StopReadingError as stop:
        return Document(None, (*builder.problems, stop.problem))
    except yaml.YAMLError as error:
        return Document(None, (*builder.problems, _explain(error, text)))
    return Document(builder.root, tuple(builder.problems))


def _events(text: str) -> Iterator[Any]:
    loader = _LOADER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    except (ValueError, OverflowError) as error:
        # PyYAML's parser raises these for an escape or a version number that is too large.
        message = "not valid YAML: an escape or the version is out of range"
        raise StopReadingError(loader.line + 1, message) from error
    finally:
        loader.dispose()


def _explain(error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = (
        mark.line + 1
        if mark is not None
        else text.count("\n", 0, getattr(error, "position", 0)) + 1
    )
    what = (
        getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
    )
    message = f"not valid YAML: {what}"
    context, context_mark = getattr(error, "context", None), getattr(error, "context_mark", None)
    if context and context_mark is not None:
        message += f", {context} that starts in line {context_mark.line + 1}"
    lines = text.splitlines() or [""]
    line = min(line, len(lines))  # PyYAML reports an unclosed bracket behind the last line
    source = lines[line - 1]
    if found := _PLACEHOLDER.search(source):
        message += f'; between braces or brackets it must be quoted: "{found[0]}"'
    elif "\t" in source[: len(source) - len(source.lstrip())]:
        message += "; indent with spaces, not tabs"
    return Problem(line, message)
