"""Finds what makes a training in a user's script: a class, a function, or the script as a whole."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.workload.build import locate

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def find(named: str) -> Callable[[], Any]:
    """Return what runs what a text names: `train.main`, `train.MyCLI`, `train` or `train.py`.

    Of a module, its code below `if __name__ == "__main__":` runs in it, after its import. It is
    imported by its own name, so that its classes have the names that a training script pickles.
    """
    if named.endswith(".py"):
        return partial(_run_module, lambda: _imported_from(named))
    if _is_module(named):
        return partial(_run_module, lambda: importlib.import_module(named))
    make: Callable[[], Any] = locate(named)
    return make


def _is_module(named: str) -> bool:
    try:
        return importlib.util.find_spec(named) is not None
    except ImportError:  # `train.main`: a module has no modules
        return False


def _imported_from(path: str) -> ModuleType:
    """Import a file as Python runs a script: what lies beside it can be imported."""
    file = Path(path).absolute()
    if not file.is_file():
        raise HarnessError(
            f"{path}: there is no such file in {Path.cwd()}; name the script that trains, by its "
            "path from there or as a module: train"
        )
    name = file.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "a file that ends in .py has a loader"
    assert spec.loader is not None, "likewise"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run_module(load: Callable[[], ModuleType]) -> None:
    module = load()
    path = module.__file__
    if path is None or not path.endswith(".py"):
        return
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
