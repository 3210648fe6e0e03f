"""Digests the code that a workload's probes run: its own files, and the packages that are there.

A probe that an interrupted run has finished answers for the same code alone. Names and shapes of
parameters do not tell whether a `training_step` has changed.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.held_memory.source_files import STANDARD, package_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Beyond that it is no project that is read here, but perhaps all packages of a machine.
MAX_FILES = 5_000
MAX_BYTES = 64 << 20
_METADATA = (".dist-info", ".egg-info")
_ENVIRONMENT = "pyvenv.cfg"


class _UnknownError(Exception):
    """The code of a module cannot be read, or is too much."""


def digest_of_sources(
    modules: Iterable[tuple[str, Any]] | None = None, texts: Iterable[str] = ()
) -> str | None:
    """Return a digest of the code that a probe may run; None where that cannot be told.

    Of installed packages names and versions count. Of all other modules every Python file beside
    them counts, because a step may import those that nothing has imported yet.

    modules: names and modules that are imported; None: those of this process.
    texts: what else the workload is made of, such as configurations.
    """
    imported = list(sys.modules.items()) if modules is None else list(modules)
    try:
        files = sorted(set(_files(imported)))
        if len(files) > MAX_FILES:
            return None
        digest = hashlib.sha256(sys.version.encode())
        for name in sorted(_installed(sys.path)):
            digest.update(os.fsencode(name) + b"\0")
        room = MAX_BYTES
        for file in files:
            content = _content(file, room)
            room -= len(content)
            # Not the whole path: a checkout elsewhere holds the same code.
            digest.update(os.fsencode(Path(*file.parts[-2:])) + b"\0")
            digest.update(hashlib.sha256(content).digest())
    except _UnknownError:
        return None
    for text in texts:
        digest.update(hashlib.sha256(text.encode(errors="backslashreplace")).digest())
    return f"sha256:{digest.hexdigest()}"


def _files(imported: list[tuple[str, Any]]) -> Iterator[Path]:
    """Yield the files of modules that are not installed, and the Python files beside them."""
    known = dict(imported)
    folders: set[tuple[Path, bool]] = set()
    for name, module in imported:
        path = _path_of(module)
        top = known.get(name.partition(".")[0])
        # torch and others make modules whose files are not there.
        if path is None or _is_installed(path) or _is_installed(_path_of(top)):
            continue
        yield Path(path)
        roots = _folders_of(top)
        folders |= {(root, True) for root in roots} if roots else {(Path(path).parent, False)}
    found = 0
    for folder, deep in sorted(folders):
        for file in _python_files(folder, deep=deep):
            found += 1
            if found > MAX_FILES:
                raise _UnknownError
            yield file


def _path_of(module: Any) -> str | None:
    # Asking a lazy module for an attribute may import something.
    path = getattr(module, "__dict__", {}).get("__file__")
    return path if isinstance(path, str) else None


def _is_installed(path: str | None) -> bool:
    return path is not None and (package_of(path) is not None or path.startswith(STANDARD))


def _folders_of(package: Any) -> list[Path]:
    """Return the folders of a package that are no installed ones; none for a single module."""
    paths = getattr(package, "__dict__", {}).get("__path__", ())
    try:
        folders = [str(path) for path in paths]
    except TypeError:
        return []
    return [Path(path) for path in folders if not _is_installed(path + os.sep)]


def _python_files(folder: Path, *, deep: bool) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        here = Path(root)
        # Editors leave links without a target whose names begin with a dot.
        yield from (here / name for name in names if name.endswith(".py") and name[0] != ".")
        folders[:] = [one for one in folders if deep and _is_of_the_project(here / one)]


def _is_of_the_project(folder: Path) -> bool:
    return folder.name[0] not in "._" and not (folder / _ENVIRONMENT).exists()


def _installed(search_path: Iterable[str]) -> Iterator[str]:
    """Yield the packages that are installed, with their versions: `torch-2.11.0.dist-info`."""
    for folder in search_path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - names are all that is needed
        except OSError:
            continue
        yield from (name for name in names if name.endswith(_METADATA))


def _content(file: Path, room: int) -> bytes:
    """Return what a file holds. Raises _UnknownError where it cannot be read, or is too large."""
    try:
        content = read_bounded(file, room)
    except UnreadableFileError as error:
        raise _UnknownError from error
    if content is None:
        raise _UnknownError
    return content
