"""Reads the names that a module binds from its source, without importing it."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Imported:
    """A name that an import binds."""

    module: str
    name: str | None
    """The name that is imported from the module; None for the module itself."""


Binding = Imported | Literal["class", "other"]


@dataclass(slots=True)
class Names:
    """The names in a module's syntax tree."""

    bound: dict[str, Binding] = field(default_factory=dict)
    """Every name that is bound at the top of the module, with or without a condition."""
    stars: list[str] = field(default_factory=list)
    """The modules that it imports by star."""
    opaque: bool = False
    """Whether the module may have names that the tree does not show."""


def read_names(source: str, module: str, *, is_package: bool) -> Names:
    """Return the names in the `source` of the module with the dotted name `module`.

    Names below `if TYPE_CHECKING:` do not count. Raises SyntaxError when the source cannot be
    parsed.
    """
    try:
        tree = parse_source(source)
    except (RecursionError, MemoryError):
        return Names(opaque=True)
    return names_of(tree, module, is_package=is_package)


def parse_source(source: str) -> ast.Module:
    """Return the syntax tree of somebody's source, without warnings. Raises as `ast.parse`."""
    with warnings.catch_warnings():
        # Invalid escapes in the sources of others would warn here.
        warnings.simplefilter("ignore")
        return ast.parse(source)


def names_of(tree: ast.Module, module: str, *, is_package: bool) -> Names:
    """Return the names in a source that is parsed, as `read_names` does."""
    reader = _Reader(module if is_package else module.rpartition(".")[0])
    try:
        reader.visit(tree)
    except RecursionError:
        reader.names.opaque = True
    if not reader.names.opaque:
        reader.names.opaque = "__getattr__" in reader.names.bound or any(
            map(_makes_names, ast.walk(tree))
        )
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            reader.names.bound.update(dict.fromkeys(node.names, "other"))
    return reader.names


class _Reader(ast.NodeVisitor):
    """Visits the statements that an import runs, but not the insides of classes."""

    def __init__(self, package: str) -> None:
        self.names = Names()
        self._package = package

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.names.bound[node.name] = "other"

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the visitor's naming

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Skip the lambda, because its names are local."""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.names.bound[node.name] = "class"

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.names.bound[node.id] = "other"

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        # An annotation alone binds nothing.
        if node.value is not None:
            self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        name = (
            test.id
            if isinstance(test, ast.Name)
            else test.attr
            if isinstance(test, ast.Attribute)
            else None
        )
        for statement in node.orelse if name == "TYPE_CHECKING" else (*node.body, *node.orelse):
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            first = alias.name.partition(".")[0]
            self.names.bound[alias.asname or first] = Imported(
                alias.name if alias.asname else first, None
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._package.split(".") if node.level else []
        if node.level > 1:
            base = base[: 1 - node.level]
        module = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            if alias.name == "*":
                self.names.stars.append(module)
            else:
                self.names.bound[alias.asname or alias.name] = Imported(module, alias.name)


def _makes_names(node: Any) -> bool:
    """Return whether a node may bind names: `globals()`, `exec(...)` or `sys.modules[...]`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("globals", "exec")
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "modules"
        and isinstance(node.value.value, ast.Name)
    )
