"""Finds and reads the files of pytest's configuration, within bounds: they may be a stranger's.

The names, their order and their tables are those of pytest's page "Configuration".
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import iniconfig
import pytest

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.errors import HarnessError
from harness.lockfile.toml_limits import excess
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Values = dict[str, Any]
    Reader = Callable[[Path], Values | None]

# The time to parse an ini file may grow with the square of its size; that of TOML does not.
_MAX_INI_BYTES = 2**17
_MAX_TOML_BYTES = 2**20


def located(start: Path) -> tuple[Path, Values] | None:
    """Return the nearest file of the configuration, from a folder upward."""
    project: Path | None = None
    for path, read in _candidates(start):
        if path.name == "pyproject.toml" and project is None:
            project = path
        if (values := read(path)) is not None:
            return path, values
    # One without a table of pytest's still says where the project is.
    return None if project is None else (project, {})


def reader_of(path: Path) -> Reader | None:
    """Return the reader of a file with any name; None for a name that no configuration has."""
    return _readers().get(path.name) or _BY_SUFFIX.get(path.suffix)


def _candidates(start: Path) -> Iterator[tuple[Path, Reader]]:
    for folder in (start, *start.parents):
        for name, read in _readers().items():
            if (folder / name).is_file():
                yield folder / name, read


def _ini_section(path: Path, section: str) -> Values | None:
    try:
        parsed = iniconfig.IniConfig(str(path), data=_text(path, _MAX_INI_BYTES))
    except iniconfig.ParseError as error:
        raise HarnessError(str(error)) from error
    return dict(parsed[section].items()) if section in parsed else None


def _pytest_ini(path: Path) -> Values | None:
    return _ini_section(path, "pytest") or {}


def _other_ini(path: Path) -> Values | None:
    return _ini_section(path, "pytest")


def _setup_cfg(path: Path) -> Values | None:
    return _ini_section(path, "tool:pytest")


def _toml(path: Path) -> Values:
    text = _text(path, _MAX_TOML_BYTES)
    if found := excess(text):
        raise HarnessError(f"{shown_path(path)}:{found[1]}: {found[0]}")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{shown_path(path)}: {str(error)[:200]}") from error


def _pyproject(path: Path) -> Values | None:
    table = _table(_table(_toml(path), "tool"), "pytest")
    own = {key: value for key, value in table.items() if key != "ini_options"}
    if own and _knows_toml():
        return own
    if not isinstance(options := table.get("ini_options"), dict):
        return None
    return {key: value if isinstance(value, list) else str(value) for key, value in options.items()}


def _pytest_toml(path: Path) -> Values | None:
    return _table(_toml(path), "pytest")


def _custom_toml(path: Path) -> Values | None:
    values = _pyproject(path)
    return _table(_toml(path), "pytest") if values is None and _knows_toml() else values


def _table(parent: Values, key: str) -> Values:
    value = parent.get(key, {})
    return value if isinstance(value, dict) else {}


def _text(path: Path, max_bytes: int) -> str:
    try:
        data = read_bounded(path, max_bytes)
        return (data or b"").decode()
    except (UnreadableFileError, UnicodeDecodeError) as error:
        raise HarnessError(f"{shown_path(path)}: {error}") from error


def _knows_toml() -> bool:
    """Return whether this pytest reads TOML with its own types: `pytest.toml`, `[tool.pytest]`."""
    return pytest.version_tuple >= (9,)


def _readers() -> dict[str, Reader]:
    """Return the readers of the files that pytest looks for, in its order."""
    return (_TOML_FILES if _knows_toml() else {}) | _FILES


_TOML_FILES: dict[str, Reader] = {"pytest.toml": _pytest_toml, ".pytest.toml": _pytest_toml}
_FILES: dict[str, Reader] = {
    "pytest.ini": _pytest_ini,
    ".pytest.ini": _pytest_ini,
    "pyproject.toml": _pyproject,
    "tox.ini": _other_ini,
    "setup.cfg": _setup_cfg,
}
_BY_SUFFIX: dict[str, Reader] = {".ini": _other_ini, ".cfg": _setup_cfg, ".toml": _custom_toml}
