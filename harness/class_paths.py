"""Whether a class path names something that exists, told from source files without importing anything.

The module is found the way the import system finds it, on a module search path; whether it has the name is read
off its syntax tree. What only running the module would tell (a `__getattr__`, an extension module, names made by
code) is left undecided.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import sys
import warnings
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Answer = Literal["ok", "missing", "undecided"]

# Calls and names by which a module makes names that its syntax tree does not show.
_MAKES_NAMES = frozenset({"globals", "vars", "locals", "exec", "eval", "setattr"})
# Chains of re-exports are short; a cycle of star imports must end.
_MAX_HOPS = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about a class path without importing it."""

    answer: Answer
    message: str = ""
    """What is missing, and the nearest name."""


_OK = Verdict("ok")
_UNDECIDED = Verdict("undecided")


@dataclass(frozen=True, slots=True)
class _Import:
    """A name that is bound by an import."""

    module: str
    name: str | None
    """What is taken from the module; None for the module itself."""


@dataclass(slots=True)
class _Names:
    """What a module's syntax tree says about its names."""

    bound: dict[str, _Import | None] = field(default_factory=dict)
    """Every name that is bound at the top, with the import that binds it if one does."""
    stars: list[str] = field(default_factory=list)
    """Modules whose names are all imported."""
    opaque: bool = False
    """Whether names are made in ways that the tree does not show."""
    syntax_error: str | None = None
