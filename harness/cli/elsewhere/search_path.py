"""Makes a module path lead to another checkout of the same project."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.cli.elsewhere.answers import Moved


def move(moved: Moved, search_path: list[str], editable: Iterable[str]) -> None:
    """Make a search path lead to another checkout: what comes first, and what led to the old one.

    editable: folders that installations lead to by other means than the search path.
    """
    old, new = Path(moved["old"]), Path(moved["new"])
    found = [*moved["first"], *(move_entry(one, old, new) for one in (*search_path, *editable))]
    search_path[:] = dict.fromkeys(found)


def move_entry(entry: str, old: Path, new: Path) -> str:
    """Return a path as it is in another checkout; one outside of the old one, or installed, stays.

    A virtual environment may lie in a checkout.
    """
    here = Path(entry)
    standard = Path(sysconfig.get_path("stdlib"))
    is_installed = {"site-packages", "dist-packages"} & {*here.parts}
    if not here.is_relative_to(old) or is_installed or standard in (here, *here.parents):
        return entry
    return str(new / here.relative_to(old))


def editable_folders() -> Iterator[str]:
    """Yield the folders that finders of editable installations, as setuptools makes them, add."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("__editable__"):
            continue
        mapping = getattr(module, "MAPPING", None)
        if isinstance(mapping, dict):
            for package, folder in mapping.items():
                path = Path(str(folder))
                if path.name == str(package).rpartition(".")[2]:
                    yield str(path.parent)
