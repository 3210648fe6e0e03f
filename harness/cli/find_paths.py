"""Finds matrix and lockfile as a pytest run would, started here.

Verbs that build workloads ask pytest itself, which loads its plugins. Verbs that only read files
must run no code of the checkout, so they read pytest's configuration files themselves.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError
from harness.run.configuration import FileConfiguration
from harness.run.paths import Paths
from harness.wording import shown_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_MAX_LINE = 300


def read_paths(options: argparse.Namespace) -> Paths:
    """Return the paths of a pytest run started here, and import nothing to find them.

    Raises HarnessError for a configuration that cannot be read.
    """
    configuration = FileConfiguration()
    given = {"gpu_profile_matrix": options.matrix, "gpu_profile_lock": options.lock}
    flags = {**configuration.flags, **{name: path for name, path in given.items() if path}}
    paths = Paths.resolve(configuration, flags)
    return replace(paths, python_path=configuration.python_path)


def writable_paths(options: argparse.Namespace) -> Paths:
    """Return what `read_paths` returns, for a verb that writes the lockfile.

    Raises HarnessError when the checkout alone says that the lockfile is outside of the project, or
    among git's files: by an ini key, or by a link.
    """
    paths = read_paths(options)
    if options.lock is not None or getattr(options, "dry_run", False):
        return paths
    target = Path(os.path.realpath(paths.lock))
    roots = [paths.root, *([paths.matrix.parent] if options.matrix else [])]
    if not any(target.is_relative_to(os.path.realpath(root)) for root in roots):
        raise HarnessError(
            f"{shown_path(paths.lock)}: its file is {target}, outside of the project in "
            f"{paths.root}, so it is not written; name it with --lock to write it all the same"
        )
    if ".git" in target.parts:
        raise HarnessError(
            f"{shown_path(paths.lock)}: its file is {target}, among git's own, so it is not "
            "written; name it with --lock to write it all the same"
        )
    if target.is_symlink():
        raise HarnessError(f"{shown_path(paths.lock)}: a link that leads to itself; remove it")
    if paths.lock.is_symlink() and not target.exists():
        raise HarnessError(
            f"{shown_path(paths.lock)}: a link to {target}, which is not there; name the file with "
            "--lock to make it"
        )
    return paths


def find_paths(options: argparse.Namespace) -> Paths:
    """Return the paths of a pytest run started here: from a flag, `addopts`, ini key or default.

    Extends `sys.path` by the ini key `pythonpath`, as pytest does. Raises HarnessError when pytest
    refuses its configuration.
    """
    # No test will run: pytest need neither rewrite the asserts of imports nor capture output.
    arguments = ["--assert=plain", "--capture=no"]
    given = {"--gpu-profile-matrix": options.matrix, "--gpu-profile-lock": options.lock}
    arguments += [f"{flag}={path}" for flag, path in given.items() if path is not None]
    reader = _PathReader()
    said = io.StringIO()
    reason = ""
    try:
        with redirect_stderr(said):
            pytest.main(arguments, plugins=[reader])
    except _PathsFoundError as found:
        sys.path[:0] = found.python_path
        return found.paths
    except HarnessError:
        raise
    except Exception as error:  # noqa: BLE001 - a plugin that pytest loads may raise anything
        reason = f"{type(error).__name__}: {error}"
    # Lines are cut: when two plugins collide, pluggy's message lists all plugins on one line.
    lines = [line[:_MAX_LINE] for line in (reason or said.getvalue()).splitlines() if line.strip()]
    raise HarnessError(
        "pytest's configuration names matrix and lockfile, but pytest cannot start here: "
        + "\n".join(lines).removeprefix("ERROR: ")
    )


class _PathsFoundError(Exception):
    """Ends pytest once it has read its configuration; not an error."""

    def __init__(self, paths: Paths, python_path: list[str]) -> None:
        super().__init__()
        self.paths = paths
        self.python_path = python_path


class _PathReader:
    """A plugin for pytest that reads the paths as soon as options and ini file are known.

    At that time pytest has imported no conftest, and other plugins have not acted on their options.
    So a conftest that raises does no harm, and pytest-cov does not erase the data of an earlier
    run.
    """

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config) -> Iterator[None]:
        """End pytest before the wrapped hooks run: they would run at the `yield`."""
        raise _PathsFoundError(
            _paths(early_config), [str(path) for path in early_config.getini("pythonpath")]
        )
        yield


def _paths(config: pytest.Config) -> Paths:
    flags = vars(config.known_args_namespace)
    if "gpu_profile_matrix" not in flags:
        raise HarnessError(
            "pytest does not load the plugin gpu_profile here, but its options name matrix and "
            "lockfile: add -p gpu_profile to the ini key addopts, or remove what turns the plugin "
            "off (PYTEST_DISABLE_PLUGIN_AUTOLOAD, -p no:gpu_profile)"
        )
    return Paths.resolve(config, flags)
