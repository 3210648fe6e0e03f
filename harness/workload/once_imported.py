"""Changes a module of a library as soon as the user's code has imported it.

Where nothing of it is imported, nothing is: the user's code does that, perhaps as late as within a
function.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def once_imported(
    name: str, change: Callable[[ModuleType], Callable[[], None]], stack: ExitStack
) -> None:
    """Change a module now, or as soon as it is imported; the stack undoes that.

    change: returns what undoes it.
    """
    module = sys.modules.get(name)
    if module is not None:
        stack.callback(change(module))
        return
    finder = _Finder(name, lambda made: stack.callback(change(made)))
    sys.meta_path.insert(0, finder)

    def forget() -> None:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)

    stack.callback(forget)


class _Finder:
    """Calls a function with one module as soon as it is imported."""

    def __init__(self, name: str, imported: Callable[[ModuleType], object]) -> None:
        self.name = name
        self.imported = imported

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self.imported(module)

            loader.exec_module = exec_module
        return spec
