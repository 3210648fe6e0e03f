"""Builds the tree of a YAML document from PyYAML's events, and finds mistakes in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from harness.matrix.yaml12.nodes import Map, Position, Problem, Seq, resolve

MAX_DEPTH = 50
"""The limit of nesting, with aliases followed."""
MAX_NODES = 500_000
"""The limit of values in a file; the values behind an alias count at every use of it."""

_TAG = "tag:yaml.org,2002:"
_SURROGATE = re.compile("[\ud800-\udfff]")


class StopReadingError(Exception):
    """A mistake after which nothing more can be read."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(line, message)


@dataclass(slots=True)
class _Frame:
    """A collection that is not complete yet."""

    container: Map | Seq
    anchor: str | None
    size: int = 1
    height: int = 1
    key: str | int | None = None
    """The key whose value comes next; None when a key comes next."""


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    size: int
    height: int


class Builder:
    """Builds the tree without recursion, so that a deep text never overflows the stack."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        """The mistakes that did not stop the reading."""
        self.root: Any = None
        """The tree, complete after the last event."""
        self._frames: list[_Frame] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._documents = 0
        self._total = 0

    def feed(self, event: Any) -> None:
        """Add the next event. Raises StopReadingError when nothing more can be read."""
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
                raise StopReadingError(
                    at.line, "a second YAML document starts here; one is allowed"
                )
            if event.version is not None and tuple(event.version) < (1, 2):
                raise StopReadingError(
                    at.line, "this file is read as YAML 1.2: remove the %YAML directive"
                )

    def _scalar(self, event: Any, at: Position) -> None:
        plain, text = event.implicit[0], event.value
        if not text.isascii() and _SURROGATE.search(text):
            raise StopReadingError(
                at.line, "a surrogate escape is half of a character: write the whole character"
            )
        value: Any = text
        if plain and event.tag is None:
            try:
                value = resolve(text)
            except ValueError:
                self.problems.append(
                    Problem(at.line, f"the number {text[:20]}… has too many digits")
                )
        elif event.tag not in (None, "!", _TAG + "str"):
            self._refuse_tag(event.tag, at)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, 1, 0)
        if plain and text == "<<" and self._key_is_next():
            raise StopReadingError(
                at.line,
                "YAML 1.2 has no merge key `<<`: write the keys out, or move them to the top level",
            )
        self._add(value, 1, 0, at)

    def _open(self, event: Any, at: Position) -> None:
        is_map = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if is_map else "seq")):
            self._refuse_tag(event.tag, at)
        if len(self._frames) >= MAX_DEPTH:
            raise StopReadingError(at.line, f"nested more than {MAX_DEPTH} levels deep")
        if self._key_is_next():
            raise StopReadingError(
                at.line, "a key must be a word or a quoted string, not a collection"
            )
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
            raise StopReadingError(
                at.line, f"*{anchor} is not defined above; define it with &{anchor}"
            )
        known = self._anchors[anchor]
        if known is None:
            raise StopReadingError(
                at.line, f"*{anchor} refers to the collection that it is part of"
            )
        if len(self._frames) + known.height > MAX_DEPTH:
            raise StopReadingError(at.line, f"nested more than {MAX_DEPTH} levels deep")
        self._add(known.value, known.size, known.height, at)

    def _add(self, value: Any, size: int, height: int, at: Position) -> None:
        self._total += size
        if self._total > MAX_NODES:
            raise StopReadingError(at.line, f"more than {MAX_NODES:,} values, aliases counted")
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
            # The first of two equal keys stays; `_key` reports the second.
            frame.container.setdefault(frame.key, value)
            frame.key = None

    def _key(self, container: Map, value: object, at: Position) -> str | int:
        if type(value) is int and self._below_arguments():
            key: str | int = value
        elif isinstance(value, str):
            key = value
        else:
            # Cut, because an alias may be a collection of any size.
            key = json.dumps(value)[:60]
            advice = f'is not a string: write "{key}"'
            if self._below_arguments():
                advice = f'is neither a string nor a whole number: write "{key}" for a string'
            self.problems.append(Problem(at.line, f"the key {key} {advice}"))
        if key in container.keys_at:
            first = container.keys_at[key].line
            self.problems.append(
                Problem(at.line, f"duplicate key {key!r}: it is also in line {first}")
            )
        container.keys_at.setdefault(key, at)
        return key

    def _below_arguments(self) -> bool:
        """Return whether the innermost mapping is data: its keys may be whole numbers.

        It is a keyword's value below `trainer`, or is inside of an argument. The arguments
        themselves have names, and so have all settings.
        """
        *outer, parent, _ = (None, None, *(frame.key for frame in self._frames))
        return outer[-1] == "trainer" or (parent != "init_args" and "init_args" in outer)

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
