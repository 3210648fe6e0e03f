"""Tells what a function of a project makes: a training with a step, or a Trainer of a library."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.starting.definitions import Definition, Definitions

_LIBRARIES = ("transformers", "trl")


def returns_a_training(definitions: Definitions, one: Definition) -> bool:
    """Return whether a function returns an object of the project that has a `step`."""
    for node in ast.walk(one.node):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
            made = definitions.find(definitions.dotted(one.source, node.value.func))
            if made and isinstance(made.node, ast.ClassDef) and definitions.has(made, "step"):
                return True
    return False


def returns_a_trainer(definitions: Definitions, one: Definition) -> bool:
    """Return whether a function returns a Trainer of transformers or TRL that it has made."""
    made = set()
    returned = []
    for node in ast.walk(one.node):
        if isinstance(node, ast.Assign) and _makes_trainer(definitions, one, node.value):
            made |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Return) and node.value is not None:
            returned.append(node.value)
    return any(
        value.id in made if isinstance(value, ast.Name) else _makes_trainer(definitions, one, value)
        for value in returned
    )


def _makes_trainer(definitions: Definitions, one: Definition, node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    dotted = definitions.dotted(one.source, node.func)
    found = definitions.find(dotted) if dotted else None
    if found is not None and isinstance(found.node, ast.ClassDef):
        return any(map(_is_trainer, definitions.line(found)[1]))
    return _is_trainer(dotted)


def _is_trainer(dotted: str) -> bool:
    return dotted.partition(".")[0] in _LIBRARIES and dotted.endswith("Trainer")
