"""The names of a module, read off its source."""

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
    """What is taken from the module; None for the module itself."""


Binding = Imported | Literal["class", "other"]


@dataclass(slots=True)
class Names:
    """What a module's syntax tree says about its names."""

    bound: dict[str, Binding] = field(default_factory=dict)
    """Every name that is bound at the top of the module, also conditionally."""
    stars: list[str] = field(default_factory=list)
    """Modules of which all names are imported."""
    opaque: bool = False
    """Whether names are made in ways that the tree does not show."""


def read_names(source: str, module: str, *, is_package: bool) -> Names:
    """Return the names of a module of that dotted name.

    Raises SyntaxError for what cannot be parsed. What stands below `if TYPE_CHECKING:` does not count.
    """
    with warnings.catch_warnings():
        # An invalid escape in someone else's source is not this check's business.
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
        except (RecursionError, MemoryError):
            return Names(opaque=True)
    reader = _Reader(module if is_package else module.rpartition(".")[0])
    try:
        reader.visit(tree)
    except RecursionError:
        reader.names.opaque = True
    if not reader.names.opaque:
        reader.names.opaque = "__getattr__" in reader.names.bound or any(map(_makes_names, ast.walk(tree)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            reader.names.bound.update(dict.fromkeys(node.names, "other"))
    return reader.names


class _Reader(ast.NodeVisitor):
    """Visits what runs when the module is imported: everything but the insides of functions and classes."""

    def __init__(self, package: str) -> None:
        self.names = Names()
        self._package = package

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.names.bound[node.name] = "other"

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the visitor's naming

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Skip it: what it binds is its own."""

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
            test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else None
        )
        for statement in node.orelse if name == "TYPE_CHECKING" else (*node.body, *node.orelse):
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            first = alias.name.partition(".")[0]
            self.names.bound[alias.asname or first] = Imported(alias.name if alias.asname else first, None)

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
    """Whether a node may make names of the module: globals(), exec(...), sys.modules[...]."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("globals", "exec")
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "modules"
        and isinstance(node.value.value, ast.Name)
    )
