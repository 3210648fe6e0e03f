"""Refuses imports from folders whose code must not run: another checkout of the same project.

An editable installation leads to the checkout that was installed, whatever folder a process runs
in. A training that imports from there would be that of another revision.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

VARIABLE = "GPU_PROFILE_NO_IMPORTS_FROM"
"""Names the folders, and single modules, with `os.pathsep` between them."""

_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_OWN = __name__.partition(".")[0]


class ForeignImportError(HarnessError):
    """A module would be imported from where it must not; `except ImportError` does not hide it."""


def guard() -> None:
    """Refuse such imports in this process from now on; do nothing where the variable is not set.

    Raises ForeignImportError where a module was imported already.
    """
    folders = [folder for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    if not folders:
        return
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(path, str) and not _is_own(name):
            _refuse(name, path, folders)
    sys.meta_path.insert(0, _Guard(folders))


class _Guard:
    """Asks the other finders, and looks where they lead."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if _is_own(name):
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(name, path, target)
            if spec is not None:
                # The parts of a namespace package are no code; their modules are looked at.
                if spec.has_location and spec.origin is not None:
                    _refuse(name, spec.origin, self._folders)
                return spec
        return None


def _is_own(name: str) -> bool:
    return name.partition(".")[0] == _OWN


def _refuse(name: str, path: str, folders: Sequence[str]) -> None:
    for folder in folders:
        inside = "" if path == folder else path.removeprefix(folder.rstrip(os.sep) + os.sep)
        # A virtual environment may lie in the checkout: what is installed there is no checkout.
        if inside != path and not any(part in f"{os.sep}{inside}" for part in _INSTALLED):
            raise ForeignImportError(
                f"{name} would be imported from {path}, which is not of this revision: an "
                "installation leads there"
            )
