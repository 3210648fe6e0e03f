"""Reads one table of a lockfile key by key; a wrong value is an error that names its line."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

from harness.case_names import AXIS, LABEL, LABEL_FORM, MAIN_AXES, label
from harness.wording import RELOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.case_names import Scalar
    from harness.lockfile.toml_text import LockText

# TOML's own range: arithmetic with floats could overflow beyond it.
_MAX_INTEGER = 2**63
_MAX_NAME = 200
_LABEL = re.compile(LABEL)
_AXIS = re.compile(AXIS)


class Block:
    """The table of a `[[profile]]`, or one of its sub-tables. Reading a key removes it.

    Every method raises LockError when the key is missing or its value is of another kind.
    """

    def __init__(
        self, text: LockText, number: int, table: Mapping[str, Any], name: str | None = None
    ) -> None:
        self._text = text
        self._number = number
        self._table = dict(table)
        self._name = name
        parts = [str(table[axis]) for axis in MAIN_AXES if axis in table]
        self._case = "-".join(parts)[:80] or f"number {number + 1}"

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def rest(self) -> dict[str, Any]:
        """Return the keys that were not read."""
        return dict(self._table)

    def string(self, key: str) -> str:
        """Read a text; it must not be empty."""
        value = self._take(key)
        if not isinstance(value, str) or not value:
            self._refuse(key, value, "a text in quotes")
        return value

    def word(self, key: str, words: Iterable[str]) -> str:
        """Read a text that must be one of `words`."""
        value = self.string(key)
        if value not in words:
            self._refuse(key, value, "one of " + ", ".join(words))
        return value

    def count(self, key: str, minimum: int = 1) -> int:
        """Read a whole number that is at least `minimum`."""
        return self._count_of(key, self._take(key), minimum)

    def number(self, key: str) -> float:
        """Read a number above 0."""
        return self._number_of(key, self._take(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        """Read a list of numbers above 0; a missing list is empty."""
        values = self._table.pop(key, [])
        if not isinstance(values, list):
            self._refuse(key, values, "a list of numbers")
        return tuple(self._number_of(key, value) for value in values)

    def sizes(self, key: str) -> tuple[int, ...]:
        """Read a list of whole numbers from 0; a missing list is empty."""
        values = self._table.pop(key, [])
        if not isinstance(values, list):
            self._refuse(key, values, "a list of whole numbers")
        return tuple(self._count_of(key, value, 0) for value in values)

    def flag(self, key: str) -> bool:
        """Read true or false; a missing flag is false."""
        value = self._table.pop(key, False)
        if not isinstance(value, bool):
            self._refuse(key, value, "true or false")
        return value

    def scalar(self, key: str) -> Scalar:
        """Read a text, a finite number, or true or false."""
        value = self._take(key)
        if not isinstance(value, (str, int, float)) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            self._refuse(key, value, "a text, a number, true or false")
        return value

    def label(self, key: str, *, text: bool = False) -> Scalar:
        """Read a value of an axis, which the matrix holds to the same form; `text`: no number."""
        value = self.string(key) if text else self.scalar(key)
        if not _LABEL.fullmatch(label(value)):
            self._refuse(key, value, f"a label: {LABEL_FORM}")
        return value

    def labels(self) -> dict[str, Scalar]:
        """Read the whole table as the names of axes and their values."""
        for key in self.rest():
            if not _AXIS.fullmatch(key):
                self.fail(key[:80], "is no name of an axis")
        return {key: self.label(key) for key in self.rest()}

    def name(self, key: str) -> str:
        """Read the name of a thing: one line, and no characters that cannot be seen."""
        value = self.string(key)
        if len(value) > _MAX_NAME or not value.isprintable():
            self._refuse(key, value, f"a name of up to {_MAX_NAME} visible characters")
        return value

    def scalars(self) -> dict[str, Scalar]:
        """Read the whole table as scalars."""
        return {key: self.scalar(key) for key in self.rest()}

    def strings(self) -> dict[str, str]:
        """Read the whole table as texts."""
        return {key: self.string(key) for key in self.rest()}

    def settings(self) -> dict[str, Any]:
        """Read the whole table as scalars and lists of them.

        Dates are refused, because JSON has none.
        """
        values = {key: self._take(key) for key in self.rest()}
        for key, value in values.items():
            items = value if isinstance(value, list) else [value]
            if not all(isinstance(item, (str, int, float)) for item in items):
                self._refuse(key, value, "a text, a number, true or false, or a list of them")
        return values

    def counts(self) -> dict[str, int]:
        """Read the whole table as whole numbers."""
        return {key: self.count(key, 0) for key in self.rest()}

    def subtable(self, key: str, *, required: bool = False) -> Block:
        """Read a sub-table; a missing one is empty unless it is `required`."""
        value = self._take(key) if required else self._table.pop(key, {})
        if not isinstance(value, dict):
            self._refuse(key, value, f"a table [profile.{key}]")
        return self._below(key, value)

    def tables(self, key: str) -> list[Block]:
        """Read a list of tables; a missing one is empty."""
        values = self._table.pop(key, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self._refuse(key, values, "a list of tables")
        return [self._below(key, value) for value in values]

    def _below(self, key: str, table: Mapping[str, Any]) -> Block:
        below = Block(self._text, self._number, table, key)
        below._case = self._case
        return below

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise LockError that names the case, the key and its line."""
        name = f"{self._name}.{key}" if self._name else key
        self._text.fail(
            f"profile {self._case}: {name} {problem}. Restore it from git, or remove the block and "
            f"lock the case again with `{RELOCK}`",
            self._text.line(self._number, key, self._name),
        )

    def _take(self, key: str) -> Any:
        if key not in self._table:
            self.fail(key, "is missing")
        return self._table.pop(key)

    def _count_of(self, key: str, value: Any, minimum: int) -> int:
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or not minimum <= value < _MAX_INTEGER
        ):
            self._refuse(key, value, f"a whole number from {minimum}")
        return value

    def _number_of(self, key: str, value: Any) -> float:
        # Compared before it is converted, because an integer may be too large for a float.
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or not 0 < value < _MAX_INTEGER
        ):
            self._refuse(key, value, "a number above 0")
        return float(value)

    def _refuse(self, key: str, value: Any, wanted: str) -> NoReturn:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        self.fail(key, f"is {shown[:80]}; {wanted} is needed")
