"""Finds what makes a training in a user's script: a class, a function, or the script as a whole."""

from __future__ import annotations

import ast
import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.workload.build import locate

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def find(named: str) -> Callable[[], Any]:
    """Return what runs what a text names: `train.main`, `train.MyCLI`, `train` or `train.py`.

    Of a module, its code below `if __name__ == "__main__":` runs in it, after its import. It is
    imported by its own name, so that its classes have the names that a training script pickles.
    """
    if named.endswith(".py"):
        return partial(_run_module, _spec_of_file(named))
    spec = _spec_of_module(named)
    if spec is not None:
        return partial(_run_module, spec)
    make: Callable[[], Any] = locate(named)
    return make


def _spec_of_module(named: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(named)
    except ImportError:  # `train.main`: a module has no modules
        return None


def _spec_of_file(path: str) -> ModuleSpec:
    """Find a file as Python runs a script: what lies beside it can be imported."""
    file = Path(path).absolute()
    if not file.is_file():
        raise HarnessError(
            f"{path}: there is no such file in {Path.cwd()}; name the script that trains, by its "
            "path from there or as a module: train"
        )
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None, "a file that ends in .py has a loader"
    return spec


def _imported(spec: ModuleSpec) -> ModuleType:
    """Import a module. It stays imported where its own code is left in the middle of it.

    It would run a second time otherwise, as soon as somebody asks for one of its classes.
    """
    known = sys.modules.get(spec.name)
    if known is not None and getattr(known, "__file__", None) == spec.origin:
        return known
    assert spec.loader is not None, "likewise"
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception:
        del sys.modules[spec.name]
        raise
    return module


def _run_module(spec: ModuleSpec) -> None:
    path = spec.origin
    if path is None or not path.endswith(".py"):
        return
    module = _imported(spec)
    tree = ast.parse(Path(path).read_bytes(), path)
    for node in tree.body:
        if isinstance(node, ast.If) and _is_main(node.test):
            body = ast.Module(node.body, [])
            exec(compile(body, path, "exec"), module.__dict__)  # noqa: S102 - the user's script


def _is_main(test: ast.expr) -> bool:
    """Return whether a condition is `__name__ == "__main__"`."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return False
    sides = {ast.unparse(test.left), ast.unparse(test.comparators[0])}
    return isinstance(test.ops[0], ast.Eq) and sides == {"__name__", "'__main__'"}
