"""YAML as the 1.2 core schema reads it, with the position of every key and item.

PyYAML parses (its events, from libyaml where that is built in) and nothing else of it is used: its own
resolvers are YAML 1.1's (`no` is false, `12:30` is 750, `1e-6` a string), its constructor lets the last
duplicate key win, and its composer recurses. Source: yaml.org/spec/1.2.2, chapter 10.3.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    PathParts = Sequence[str | int]

MAX_DEPTH = 50
"""Levels of nesting, aliases followed."""
MAX_NODES = 500_000
"""Values in a file, every alias counted as often as it is written."""
MAX_BITS = 1023
"""Of a whole number: larger ones are no floats, and Python refuses to print the largest."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
# Not those that YAML 1.1's parser takes for line breaks and YAML 1.2 does not: lines would be miscounted.
_NOT_ALLOWED = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}?")
_CONSTANTS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_NAN = re.compile(r"\.(?:nan|NaN|NAN)")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a node starts, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a file."""

    line: int
    message: str


class Map(dict[str, Any]):
    """A mapping that knows where it and its keys are."""

    __slots__ = ("at", "keys_at")

    def __init__(self, at: Position) -> None:
        super().__init__()
        self.at = at
        self.keys_at: dict[str, Position] = {}


class Seq(list[Any]):
    """A sequence that knows where it and its items are."""

    __slots__ = ("at", "items_at")

    def __init__(self, at: Position) -> None:
        super().__init__()
        self.at = at
        self.items_at: list[Position] = []


@dataclass(frozen=True)
class Document:
    """What was read: plain values in `Map`s and `Seq`s, and the mistakes that reading found."""

    root: Any
    problems: tuple[Problem, ...]

    def position(self, path: PathParts) -> Position:
        """Return where the key or item at `path` is; where the path leaves the file, the last known one."""
        node, at = self.root, Position(1, 1)
        for part in path:
            if isinstance(node, Map) and part in node:
                at = node.keys_at[str(part)]
                node = node[str(part)]
            elif isinstance(node, Seq) and isinstance(part, int) and part < len(node):
                at = node.items_at[part]
                node = node[part]
            else:
                break
        return at


def read_yaml(text: str) -> Document:
    """Read one YAML document; never raises for what the text holds, mistakes are in `Document.problems`."""
    if bad := _NOT_ALLOWED.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        return Document(
            None,
            (
                Problem(
                    line,
                    f"the character U+{ord(bad[0]):04X} is not allowed: remove it, or escape it in quotes",
                ),
            ),
        )
    builder = _Builder()
    try:
        for event in _events(text):
            builder.feed(event)
    except _StopReadingError as stop:
        return Document(None, (*builder.problems, stop.problem))
    except yaml.YAMLError as error:
        return Document(None, (*builder.problems, _explain(error, text)))
    return Document(builder.root, tuple(builder.problems))


def resolve(text: str) -> Any:
    """Return the value of a plain (unquoted) scalar by the core schema; raise ValueError for absurd numbers."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return _bounded(int(text))
    if _OCTAL_OR_HEX.fullmatch(text):
        return _bounded(int(text, base=0))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text) or _NAN.fullmatch(text):
        # Python writes them without the dot.
        return float(text.replace(".", ""))
    return text


def _bounded(number: int) -> int:
    if number.bit_length() > MAX_BITS:
        raise ValueError(f"a number of more than {MAX_BITS} bits")
    return number


class _StopReadingError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(line, message)


@dataclass(slots=True)
class _Frame:
    """A collection that is being read."""

    container: Map | Seq
    anchor: str | None
    size: int = 1
    height: int = 1
    key: str | None = None
    """The key whose value comes next; None when a key comes next."""


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    size: int
    height: int


class _Builder:
    """Builds the tree without recursion: the depth of the text is never the depth of the stack."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.root: Any = None
        self._frames: list[_Frame] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._documents = 0
        self._total = 0

    def feed(self, event: Any) -> None:
        mark = event.start_mark
        at = Position(mark.line + 1, mark.column + 1)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, at)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._open(event, at)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor, at)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _StopReadingError(at.line, "a second YAML document starts here; one is allowed")
            if event.version is not None and tuple(event.version) < (1, 2):
                raise _StopReadingError(at.line, "this file is read as YAML 1.2: remove the %YAML directive")

    def _scalar(self, event: Any, at: Position) -> None:
        plain, text = event.implicit[0], event.value
        if not text.isascii() and _SURROGATE.search(text):
            raise _StopReadingError(
                at.line, "an escape of a surrogate is half a character: write the whole one"
            )
        value: Any = text
        if plain and event.tag is None:
            try:
                value = resolve(text)
            except ValueError:
                self.problems.append(Problem(at.line, f"the number {text[:20]}… has too many digits"))
        elif event.tag not in (None, "!", _TAG + "str"):
            self._refuse_tag(event.tag, at)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, 1, 0)
        if plain and text == "<<" and self._key_is_next():
            raise _StopReadingError(
                at.line, "YAML 1.2 has no merge key `<<`: write the keys out, or move them to the top level"
            )
        self._add(value, 1, 0, at)

    def _open(self, event: Any, at: Position) -> None:
        is_map = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if is_map else "seq")):
            self._refuse_tag(event.tag, at)
        if len(self._frames) >= MAX_DEPTH:
            raise _StopReadingError(at.line, f"nested more than {MAX_DEPTH} levels deep")
        if self._key_is_next():
            raise _StopReadingError(at.line, "a key must be a word or a quoted string, not a collection")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._frames.append(_Frame(Map(at) if is_map else Seq(at), event.anchor))

    def _close(self) -> None:
        frame = self._frames.pop()
        if frame.anchor is not None:
            self._anchors[frame.anchor] = _Anchored(frame.container, frame.size, frame.height)
        self._total -= frame.size - 1
        self._add(frame.container, frame.size, frame.height, frame.container.at)

    def _alias(self, anchor: str | None, at: Position) -> None:
        if anchor is None or anchor not in self._anchors:
            raise _StopReadingError(at.line, f"*{anchor} is not defined above; define it with &{anchor}")
        known = self._anchors[anchor]
        if known is None:
            raise _StopReadingError(at.line, f"*{anchor} refers to the collection that it is part of")
        if len(self._frames) + known.height > MAX_DEPTH:
            raise _StopReadingError(at.line, f"nested more than {MAX_DEPTH} levels deep")
        self._add(known.value, known.size, known.height, at)

    def _add(self, value: Any, size: int, height: int, at: Position) -> None:
        self._total += size
        if self._total > MAX_NODES:
            raise _StopReadingError(at.line, f"more than {MAX_NODES:,} values, aliases counted")
        if not self._frames:
            self.root = value
            return
        frame = self._frames[-1]
        frame.size += size
        frame.height = max(frame.height, height + 1)
        if isinstance(frame.container, Seq):
            frame.container.append(value)
            frame.container.items_at.append(at)
        elif frame.key is None:
            frame.key = self._key(frame.container, value, at)
        else:
            # Of two equal keys the first stays; the second is reported by _key.
            frame.container.setdefault(frame.key, value)
            frame.key = None

    def _key(self, container: Map, value: object, at: Position) -> str:
        if not isinstance(value, str):
            # Cut: an alias may stand for a collection of any size.
            written = json.dumps(value)[:60]
            self.problems.append(Problem(at.line, f'the key {written} is not a string: write "{written}"'))
            value = written
        if value in container.keys_at:
            first = container.keys_at[value].line
            self.problems.append(Problem(at.line, f"duplicate key {value!r}: it is also in line {first}"))
        container.keys_at.setdefault(value, at)
        return value

    def _key_is_next(self) -> bool:
        return (
            bool(self._frames)
            and isinstance(self._frames[-1].container, Map)
            and self._frames[-1].key is None
        )

    def _refuse_tag(self, tag: str, at: Position) -> None:
        self.problems.append(
            Problem(at.line, f"the tag {tag.replace(_TAG, '!!')} is not supported: remove it")
        )


def _events(text: str) -> Iterator[Any]:
    loader = _LOADER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    except (ValueError, OverflowError) as error:
        # PyYAML's own parser converts escapes and version numbers of any size.
        message = "not valid YAML: an escape or the version is out of range"
        raise _StopReadingError(loader.line + 1, message) from error
    finally:
        loader.dispose()


def _explain(error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark is not None else text.count("\n", 0, getattr(error, "position", 0)) + 1
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
    message = f"not valid YAML: {what}"
    context_mark = getattr(error, "context_mark", None)
    if getattr(error, "context", None) and context_mark is not None:
        message += f", {error.context} that starts in line {context_mark.line + 1}"  # type: ignore[attr-defined] # only some of PyYAML's errors have one
    lines = text.splitlines() or [""]
    line = min(line, len(lines))  # the end of the file is where many an opened bracket is missed
    source = lines[line - 1]
    if found := _PLACEHOLDER.search(source):
        message += f'; between braces or brackets it must be quoted: "{found[0]}"'
    elif "\t" in source[: len(source) - len(source.lstrip())]:
        message += "; indent with spaces, not tabs"
    return Problem(line, message)
