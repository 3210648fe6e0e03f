"""Reads pytest's configuration by pytest's rules, and runs nothing of what it names.

pytest itself imports plugins (`addopts = -p NAME`) and the classes of warnings before anybody can
ask it for a value. A verb that only reads the lockfile must not run the code of a checkout.
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from harness.errors import HarnessError
from harness.run.configuration_files import located, reader_of
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.run.configuration_files import Values

_PATH_FLAGS = ("gpu_profile_matrix", "gpu_profile_lock", "gpu_profile_dir")


class Start(Protocol):
    """The start of a pytest run."""

    @property
    def dir(self) -> Path:
        """The folder in which pytest was started."""


class Configuration(Protocol):
    """The part of `pytest.Config` that paths depend on."""

    @property
    def rootpath(self) -> Path:
        """Pytest's rootdir."""

    @property
    def inipath(self) -> Path | None:
        """The file of the configuration, or None."""

    @property
    def invocation_params(self) -> Start:
        """Where pytest was started."""

    def getini(self, name: str) -> Any:
        """Return the value of an ini key."""


class StartedHere:
    """A start in the working directory."""

    def __init__(self) -> None:
        self.dir = Path.cwd()


class FileConfiguration:
    """The configuration of a pytest run that is started here without arguments.

    Raises HarnessError for a file that pytest could not read either.
    """

    def __init__(self) -> None:
        self.invocation_params = StartedHere()
        options = _options(_words(os.environ.get("PYTEST_ADDOPTS", ""), "PYTEST_ADDOPTS"))
        self.rootpath, self.inipath, self._values = _find(self.invocation_params.dir, options)
        self._values = self._values | _overrides(options)
        where = "addopts" if self.inipath is None else f"{shown_path(self.inipath)}: addopts"
        # As in pytest, the environment's options stand behind those of the file, and win.
        own = _options(_words(self._values.get("addopts", ""), where))
        self._values = self._values | _overrides(own) | _overrides(options)
        self.flags: Mapping[str, str | None] = {
            name: getattr(options, name) or getattr(own, name) for name in _PATH_FLAGS
        }

    def getini(self, name: str) -> str:
        """Return the text of an ini key; it is empty where the key is not set."""
        value = self._values.get(name, "")
        if not isinstance(value, str):
            raise HarnessError(f"{self._where}: {name} is {str(value)[:80]}; a text is needed")
        return value

    @property
    def python_path(self) -> tuple[str, ...]:
        """The folders of the ini key `pythonpath`."""
        base = self.invocation_params.dir if self.inipath is None else self.inipath.parent
        words = _words(self._values.get("pythonpath", ""), f"{self._where}: pythonpath")
        return tuple(str(base / word) for word in words)

    @property
    def _where(self) -> str:
        return "-o" if self.inipath is None else shown_path(self.inipath)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise HarnessError instead of ending the process."""
        raise HarnessError(f"the options for pytest (PYTEST_ADDOPTS, addopts): {message}")


def _options(words: Sequence[str]) -> argparse.Namespace:
    """Parse the options that matter here, and leave out all others."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config-file", dest="inifilename")
    parser.add_argument("--rootdir")
    parser.add_argument("-o", "--override-ini", dest="override_ini", action="append", default=[])
    for name in _PATH_FLAGS:
        parser.add_argument("--" + name.replace("_", "-"), dest=name)
    return parser.parse_known_args(list(words))[0]


def _overrides(options: argparse.Namespace) -> Values:
    found: Values = {}
    for text in options.override_ini:
        key, equals, value = text.partition("=")
        if not equals:
            raise HarnessError(f"-o {text} is not allowed for pytest; -o KEY=VALUE")
        found[key] = value
    return found


def _words(value: Any, where: str) -> list[str]:
    """Return the words of a text, as a shell would split it, or the items of a list."""
    if isinstance(value, list):
        return [str(item) for item in value]
    try:
        return shlex.split(str(value))
    except ValueError as error:
        raise HarnessError(f"{where}: {error}") from error


def _find(start: Path, options: argparse.Namespace) -> tuple[Path, Path | None, Values]:
    """Return rootdir, the file of the configuration, and its values."""
    root = None
    if options.rootdir:
        root = Path(os.path.abspath(os.path.expandvars(options.rootdir)))  # noqa: PTH100 - as pytest
        if not root.is_dir():
            raise HarnessError(f"--rootdir {options.rootdir} is no folder")
    if options.inifilename:
        path = Path(os.path.abspath(options.inifilename))  # noqa: PTH100 - links stay, as in pytest
        read = reader_of(path)
        if not path.exists() or path.is_dir():
            raise HarnessError(f"{shown_path(path)}, which -c names, is no file")
        if not path.is_file():  # `-c /dev/null` asks for no configuration
            return root or start, path, {}
        if read is None:
            raise HarnessError(f"{shown_path(path)}: not the name of a configuration of pytest")
        return root or path.parent, path, read(path) or {}
    found = located(start)
    if found is None:
        folder = next(
            (one for one in (start, *start.parents) if (one / "setup.py").is_file()), start
        )
        return root or folder, None, {}
    return (root or found[0].parent, *found)
