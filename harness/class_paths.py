"""Whether a class path names something that exists, told from source files without importing anything.

A module is found on a module search path as the import system finds it; whether it has the name is read off its
syntax tree. What only running it would tell (its `__getattr__`, an extension module) is left undecided.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Literal

from harness.module_names import Binding, Imported, Names, read_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Answer = Literal["ok", "missing", "undecided"]

# Chains of re-exports are short, and cycles of them must end.
_MAX_HOPS = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about a class path without importing it."""

    answer: Answer
    message: str = ""
    """What is missing, and the nearest name."""


_OK = Verdict("ok")
_UNDECIDED = Verdict("undecided")


class ClassPaths:
    """Answers for one module search path; every module is read at most once.

    Args:
        search_path: folders that come before `sys.path`.

    """

    def __init__(self, search_path: Sequence[str] = ()) -> None:
        self._path = [entry or os.getcwd() for entry in dict.fromkeys([*search_path, *sys.path])]  # noqa: PTH109 - sys.path holds strings
        self._specs: dict[str, ModuleSpec | None] = {}
        self._names: dict[str, Names | Verdict] = {}
        self._verdicts: dict[str, Verdict] = {}
        # Finders cache the contents of folders for as long as their time stamps stay the same.
        importlib.invalidate_caches()

    def check(self, class_path: str) -> Verdict:
        """Say whether a dotted path names something that exists, an attribute of a class included."""
        if class_path not in self._verdicts:
            self._verdicts[class_path] = self._check(class_path.split("."), _MAX_HOPS)
        return self._verdicts[class_path]

    def _check(self, parts: Sequence[str], hops: int) -> Verdict:
        """Split a path into the longest module and the rest, at least the last part, and look that up."""
        cut = 0
        while cut < len(parts) - 1 and self._spec(".".join(parts[: cut + 1])) is not None:
            cut += 1
        if cut == 0:
            if self._spec(parts[0]) is not None:
                return Verdict("missing", f"{parts[0]} is a module: name a class or function in it")
            return Verdict(
                "missing",
                f"cannot be imported: there is no module {parts[0]}{_nearest(parts[0], self._top, 0.8)}"
                " (pytest's ini key pythonpath adds folders to the module path)",
            )
        return self._attribute(".".join(parts[:cut]), parts[cut:], hops)

    @cached_property
    def _top(self) -> list[str]:
        return [module.name for module in pkgutil.iter_modules(self._path)]

    def _attribute(self, module: str, rest: Sequence[str], hops: int) -> Verdict:
        """Look up dotted attributes, the first of which is no module below `module`, or is the last part."""
        own = self._names_of(module)
        if isinstance(own, Verdict) or hops == 0:
            return own if isinstance(own, Verdict) else _UNDECIDED
        first, *others = rest
        opaque = False
        for source in self._sources(module):
            names = self._names_of(source)
            if isinstance(names, Verdict):
                opaque = True  # a star import of what is not there may stand below a condition
            elif first in names.bound:
                return self._follow(names.bound[first], others, hops - 1)
            else:
                opaque |= names.opaque
        if not others and self._spec(f"{module}.{first}") is not None:
            return Verdict("missing", f"{module}.{first} is a module: name a class or function in it")
        if opaque:
            return _UNDECIDED
        hint = _nearest(first, self._known_names(module))
        return Verdict("missing", f"cannot be imported: {module} has no {first}{hint}")

    def _follow(self, binding: Binding, others: Sequence[str], hops: int) -> Verdict:
        """Look up the attributes `others` of what a name is bound to."""
        if not others or binding == "class":
            return _OK
        if not isinstance(binding, Imported):
            return _UNDECIDED
        target = [*binding.module.split("."), *([binding.name] if binding.name else []), *others]
        # Of imports that depend on a condition only the last is known, so that a miss proves nothing.
        return _OK if self._check(target, hops) == _OK else _UNDECIDED

    def _sources(self, module: str) -> list[str]:
        """Return the module and all that it imports by star, directly or not."""
        sources = [module]
        for source in sources:
            names = self._names_of(source)
            if isinstance(names, Names):
                sources += [star for star in dict.fromkeys(names.stars) if star not in sources]
        return sources

    def _known_names(self, module: str) -> set[str]:
        """Return the public names of a module, its submodules among them."""
        spec = self._spec(module)
        below = pkgutil.iter_modules(list(spec.submodule_search_locations or ()) if spec else [])
        found = {info.name for info in below}
        for source in self._sources(module):
            names = self._names_of(source)
            if isinstance(names, Names):
                found.update(name for name in names.bound if not name.startswith("_"))
        return found

    def _names_of(self, module: str) -> Names | Verdict:
        if module not in self._names:
            self._names[module] = self._read(module)
        return self._names[module]

    def _read(self, module: str) -> Names | Verdict:
        spec = self._spec(module)
        if spec is None:
            return _UNDECIDED
        if spec.loader is None:
            return Names()  # a namespace package: nothing but its submodules
        try:
            source = spec.loader.get_source(module) if hasattr(spec.loader, "get_source") else None
            if source is None:
                return _UNDECIDED
            return read_names(source, module, is_package=spec.submodule_search_locations is not None)
        except SyntaxError as error:
            return Verdict("missing", f"cannot be imported: {spec.origin}, line {error.lineno}: {error.msg}")
        except (ImportError, OSError, ValueError):
            return _UNDECIDED

    def _spec(self, module: str) -> ModuleSpec | None:
        if module not in self._specs:
            self._specs[module] = self._find(module)
        return self._specs[module]

    def _find(self, module: str) -> ModuleSpec | None:
        parent, _, _ = module.rpartition(".")
        if parent:
            package = self._spec(parent)
            if package is None or package.submodule_search_locations is None:
                return None
            return _find_on(list(package.submodule_search_locations), module)
        if module in sys.builtin_module_names:
            return importlib.util.find_spec(module)
        return _find_on(self._path, module) or _find_elsewhere(module)


def _find_on(path: Iterable[str], module: str) -> ModuleSpec | None:
    """Find a module as PathFinder does, which, for a namespace package, needs its parent imported."""
    portions: list[str] = []
    for entry in path:
        finder: Any = pkgutil.get_importer(entry)
        spec: ModuleSpec | None = finder.find_spec(module) if finder is not None else None
        if spec is None:
            continue
        if spec.loader is not None:
            return spec
        portions += spec.submodule_search_locations or ()
    if not portions:
        return None
    namespace = ModuleSpec(module, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


def _find_elsewhere(module: str) -> ModuleSpec | None:
    """Find a top-level module that a finder of its own serves, as some editable installs have it."""
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    close = get_close_matches(name, list(known), 1, cutoff)
    return f"; did you mean {close[0]}?" if close else ""
