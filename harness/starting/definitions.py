"""Finds the classes and functions of a project, what they derive from, and their parameters."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.matrix.class_paths.source_names import Imported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.starting.sources import Source

_LIGHTNING = ("lightning", "pytorch_lightning")
_MAX_HOPS = 20
_MAX_LITERAL = 200
FILL_IN = "FILL IN"
"""Marks what a person must fill in."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


class NoLiteral:
    """Stands in place of a value that only running the code would show."""


NO_LITERAL = NoLiteral()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a constructor or of a function."""

    name: str
    required: bool
    default: Any
    """The default, `NO_LITERAL` where it is no literal or there is none."""
    annotation: str


@dataclass(frozen=True, slots=True)
class Definition:
    """A class or a function at the top of a module."""

    source: Source
    node: ast.ClassDef | Function

    @property
    def class_path(self) -> str:
        """The dotted path by which a matrix names it."""
        return f"{self.source.module}.{self.node.name}"

    @property
    def where(self) -> str:
        """The place as `FILE:LINE`."""
        return f"{self.source.shown}:{self.node.lineno}"

    def methods(self) -> dict[str, Function]:
        """Return a class's own methods."""
        return {node.name: node for node in self.node.body if isinstance(node, Function)}


class Definitions:
    """All classes and functions of a project, by class path."""

    def __init__(self, files: Sequence[Source]) -> None:
        self.files = {source.module: source for source in files}
        self.all = {
            one.class_path: one
            for source in files
            for one in (Definition(source, node) for node in _top(source.tree.body))
        }
        self._by_name: dict[str, list[Definition]] = {}
        for one in self.all.values():
            self._by_name.setdefault(one.node.name, []).append(one)
        self._lines: dict[str, tuple[list[Definition], list[str]]] = {}

    @property
    def classes(self) -> list[Definition]:
        """The classes, in the order in which files were read."""
        return [one for one in self.all.values() if isinstance(one.node, ast.ClassDef)]

    @property
    def functions(self) -> list[Definition]:
        """The functions, in that order."""
        return [one for one in self.all.values() if isinstance(one.node, Function)]

    def dotted(self, source: Source, node: ast.expr) -> str:
        """Return what an expression such as `pl.Trainer` names; empty where it is no name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        first, rest = node.id, list(reversed(parts))
        binding = source.names.bound.get(first)
        if isinstance(binding, Imported):
            head = [binding.module, *([binding.name] if binding.name else [])]
        elif binding is not None:
            head = [source.module, first]
        else:
            # A star import of the project, or else of a library.
            stars = sorted(source.names.stars, key=lambda star: f"{star}.{first}" not in self.all)
            head = [*stars[:1], first]
        return ".".join([*head, *rest])

    def find(self, dotted: str, hops: int = _MAX_HOPS) -> Definition | None:
        """Return the definition that a dotted name leads to, through the project's re-exports."""
        if dotted in self.all or not hops:
            return self.all.get(dotted)
        module, _, name = dotted.rpartition(".")
        if module in self.files:
            names = self.files[module].names
            binding = names.bound.get(name)
            if isinstance(binding, Imported) and binding.name:
                return self.find(f"{binding.module}.{binding.name}", hops - 1)
            found = (self.find(f"{star}.{name}", hops - 1) for star in names.stars[:_MAX_HOPS])
            return next((one for one in found if one), None)
        # Imported from a folder of the module path that is not known here.
        alike = [
            one for one in self._by_name.get(name, ()) if one.class_path.endswith(f".{dotted}")
        ]
        return alike[0] if module and len(alike) == 1 else None

    def line(self, one: Definition) -> tuple[list[Definition], list[str]]:
        """Return a class with its ancestors in the project, and the library classes above them."""
        if one.class_path not in self._lines:
            ours, foreign = [one], []
            for ancestor in ours:
                assert isinstance(ancestor.node, ast.ClassDef)
                for base in ancestor.node.bases:
                    node = base.value if isinstance(base, ast.Subscript) else base
                    dotted = self.dotted(ancestor.source, node)
                    found = self.find(dotted) if dotted else None
                    if found is None:
                        foreign.append(dotted)
                    elif found not in ours and isinstance(found.node, ast.ClassDef):
                        ours.append(found)
            self._lines[one.class_path] = ours, foreign
        return self._lines[one.class_path]

    def derives(self, one: Definition, *names: str, libraries: Iterable[str] = _LIGHTNING) -> bool:
        """Return whether a class derives from a class of these names of one of the libraries."""
        return any(
            dotted.partition(".")[0] in libraries and dotted.rpartition(".")[2] in names
            for dotted in self.line(one)[1]
        )

    def is_torch_module(self, one: Definition) -> bool:
        """Return whether a class is an `nn.Module` of torch."""
        return any(dotted.startswith("torch.nn.") for dotted in self.line(one)[1])

    def is_abstract(self, one: Definition) -> bool:
        """Return whether a class says itself that it is a base of others."""
        assert isinstance(one.node, ast.ClassDef)
        bases = [*one.node.bases, *(keyword.value for keyword in one.node.keywords)]
        direct = {self.dotted(one.source, base) for base in bases}
        marked = (
            self.dotted(one.source, decorator)
            for method in one.methods().values()
            for decorator in method.decorator_list
        )
        return bool(
            {"abc.ABC", "abc.ABCMeta"} & direct
            or "abc.abstractmethod" in marked
            or one.node.name.startswith("_")
        )

    def has(self, one: Definition, method: str) -> bool:
        """Return whether a class of the project, or an ancestor in it, has the method."""
        return any(method in ours.methods() for ours in self.line(one)[0])

    def parameters(self, one: Definition) -> list[Parameter]:
        """Return the parameters that can be given by keyword."""
        if isinstance(one.node, Function):
            return _parameters(one.node, is_method=False)
        found: dict[str, Parameter] = {}
        for ours in self.line(one)[0]:
            if constructor := ours.methods().get("__init__"):
                for parameter in _parameters(constructor, is_method=True):
                    found.setdefault(parameter.name, parameter)
                if constructor.args.kwarg is None:
                    break  # else the keywords are, as a rule, those of the base
        return [*found.values()]


def literal(node: ast.expr | None) -> Any:
    """Return the value of a literal that YAML can hold, or `NO_LITERAL`."""
    if node is None:
        return NO_LITERAL
    try:
        value = ast.literal_eval(node)
        return value if _is_plain(value) and len(repr(value)) <= _MAX_LITERAL else NO_LITERAL
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return NO_LITERAL


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(key) for key in value) and all(
            map(_is_plain, value.values())
        )
    return value is None or isinstance(value, bool | int)


def _parameters(node: Function, *, is_method: bool) -> list[Parameter]:
    arguments = node.args
    ordered = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(ordered) - len(arguments.defaults))
    pairs = [*zip(ordered, [*missing, *arguments.defaults], strict=True)][is_method:]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return [
        Parameter(
            argument.arg,
            default is None,
            literal(default),
            ast.unparse(argument.annotation) if argument.annotation else "",
        )
        for argument, default in pairs
    ]


def _top(body: Sequence[ast.stmt]) -> Iterator[ast.ClassDef | Function]:
    """Yield the classes and functions that an import of the module defines."""
    waiting = list(reversed(body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef | Function):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            waiting += [
                child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)
            ]
