"""Checks from source files whether a class path names something, without importing anything.

A module is looked up on a module search path as the import system does it. Its syntax tree shows
whether it has the name. The answer is "undecided" where only an import could show it, as with a
module's `__getattr__` or an extension module.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Literal

from harness.matrix.class_paths.source_names import Binding, Imported, Names, read_names
from harness.wording import closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Answer = Literal["ok", "missing", "undecided"]

# Chains of re-exports are short, and a cycle of them must end.
_MAX_HOPS = 20


@dataclass(frozen=True, slots=True)
class Lookup:
    """The answer for one class path."""

    answer: Answer
    message: str = ""
    """The mistake, with the nearest name; empty unless the answer is "missing"."""


_OK = Lookup("ok")
_UNDECIDED = Lookup("undecided")


class ClassPaths:
    """Looks up class paths on one module search path, and reads every module at most once.

    Args:
        search_path: folders to search before `sys.path`.

    """

    def __init__(self, search_path: Sequence[str] = ()) -> None:
        folders = dict.fromkeys([*search_path, *sys.path])
        self._path = [folder or os.getcwd() for folder in folders]  # noqa: PTH109 - str, not Path
        self._specs: dict[str, ModuleSpec | None] = {}
        self._names: dict[str, Names | Lookup] = {}
        self._lookups: dict[str, Lookup] = {}
        # Finders cache a folder's contents until its time stamp changes.
        importlib.invalidate_caches()

    def has_package(self, class_path: str) -> bool:
        """Return whether the package that a dotted path begins with is installed."""
        return self._spec(class_path.partition(".")[0]) is not None

    def check(self, class_path: str) -> Lookup:
        """Return the answer for a dotted path, such as `module.Name` or `module.Class.method`."""
        if class_path not in self._lookups:
            self._lookups[class_path] = self._check(class_path.split("."), _MAX_HOPS)
        return self._lookups[class_path]

    def _check(self, parts: Sequence[str], hops: int) -> Lookup:
        """Look up a path as attributes of the longest module in it.

        The last part is always an attribute.
        """
        cut = 0
        while cut < len(parts) - 1 and self._spec(".".join(parts[: cut + 1])) is not None:
            cut += 1
        if cut == 0:
            if self._spec(parts[0]) is not None:
                return Lookup("missing", f"{parts[0]} is a module: name a class or function in it")
            hint = _nearest(parts[0], self._top, 0.8)
            return Lookup(
                "missing",
                f"cannot be imported: there is no module {parts[0]}{hint}"
                " (pytest's ini key pythonpath adds folders to the module path)",
            )
        return self._attribute(".".join(parts[:cut]), parts[cut:], hops)

    @cached_property
    def _top(self) -> list[str]:
        return [module.name for module in pkgutil.iter_modules(self._path)]

    def _attribute(self, module: str, rest: Sequence[str], hops: int) -> Lookup:
        """Look up the attributes `rest`, one below the other, in a module.

        The first one is no submodule, unless it is also the last one.
        """
        own = self._names_of(module)
        if isinstance(own, Lookup) or hops == 0:
            return own if isinstance(own, Lookup) else _UNDECIDED
        first, *others = rest
        opaque = False
        for source in self._sources(module):
            names = self._names_of(source)
            if isinstance(names, Lookup):
                opaque = True  # a star import of a missing module may stand below a condition
            elif first in names.bound:
                return self._follow(names.bound[first], others, hops - 1)
            else:
                opaque |= names.opaque
        if not others and self._spec(f"{module}.{first}") is not None:
            return Lookup(
                "missing", f"{module}.{first} is a module: name a class or function in it"
            )
        if opaque:
            return _UNDECIDED
        hint = _nearest(first, self._known_names(module))
        return Lookup("missing", f"cannot be imported: {module} has no {first}{hint}")

    def _follow(self, binding: Binding, others: Sequence[str], hops: int) -> Lookup:
        """Look up the attributes `others` of the object that a name is bound to."""
        if not others or binding == "class":
            return _OK
        if not isinstance(binding, Imported):
            return _UNDECIDED
        target = [*binding.module.split("."), *([binding.name] if binding.name else []), *others]
        # A miss proves nothing: where several imports bind a name, depending on a condition, only
        # the last of them is known here.
        return _OK if self._check(target, hops) == _OK else _UNDECIDED

    def _sources(self, module: str) -> list[str]:
        """Return the module and all modules that it imports by star, directly or indirectly."""
        sources = [module]
        for source in sources:
            names = self._names_of(source)
            if isinstance(names, Names):
                sources += [star for star in dict.fromkeys(names.stars) if star not in sources]
        return sources

    def _known_names(self, module: str) -> set[str]:
        """Return the public names of a module, including its submodules."""
        spec = self._spec(module)
        below = pkgutil.iter_modules(list(spec.submodule_search_locations or ()) if spec else [])
        found = {info.name for info in below}
        for source in self._sources(module):
            names = self._names_of(source)
            if isinstance(names, Names):
                found.update(name for name in names.bound if not name.startswith("_"))
        return found

    def _names_of(self, module: str) -> Names | Lookup:
        if module not in self._names:
            self._names[module] = self._read(module)
        return self._names[module]

    def _read(self, module: str) -> Names | Lookup:
        spec = self._spec(module)
        if spec is None:
            return _UNDECIDED
        if spec.loader is None:
            return Names()  # a namespace package has only submodules
        try:
            source = spec.loader.get_source(module) if hasattr(spec.loader, "get_source") else None
            if source is None:
                return _UNDECIDED
            return read_names(
                source, module, is_package=spec.submodule_search_locations is not None
            )
        except SyntaxError as error:
            return Lookup(
                "missing", f"cannot be imported: {spec.origin}, line {error.lineno}: {error.msg}"
            )
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
    """Return the spec of a module as PathFinder would, or None.

    PathFinder itself would need the parent of a namespace package to be imported.
    """
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
    """Return the spec of a top-level module that has its own finder, as in editable installs."""
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    close = closest(name, known, cutoff)
    return f"; did you mean {close}?" if close else ""
