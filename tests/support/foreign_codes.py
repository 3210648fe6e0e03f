"""Training codes of others, in `tests/workloads/foreign`: a folder each, with its wiring beside.

A folder has the code as its author would write it, and in `profiles/` what makes its values tested
ones: the wiring. It is short, and repeats nothing of the code. The test module of one line, which
is the same for all, is written by `gpu-profile init`: here it would be a test of our own.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from projects import WORKLOADS

from harness.lockfile.profiles import read_lock
from harness.starting.other_files import TEST_MODULE

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile

FOREIGN = WORKLOADS / "foreign"
CODES = sorted(folder.name for folder in FOREIGN.iterdir() if (folder / "profiles").is_dir())
"""The names of the folders."""
_LEFT = ("__pycache__", "data")


def copy_code(name: str, folder: Path) -> None:
    """Copy a code into a user's project, without its wiring."""
    ignored = shutil.ignore_patterns("profiles", *_LEFT)
    shutil.copytree(FOREIGN / name, folder, dirs_exist_ok=True, ignore=ignored)


def add_wiring(name: str, folder: Path) -> None:
    """Copy the wiring of a code, and write the test module."""
    profiles = folder / "profiles"
    ignored = shutil.ignore_patterns(*_LEFT)
    shutil.copytree(FOREIGN / name / "profiles", profiles, dirs_exist_ok=True, ignore=ignored)
    (profiles / "test_profiles.py").write_text(TEST_MODULE, encoding="utf-8")


def with_this_python() -> str:
    """Return a PATH on which `python`, as commands name it, is the one that runs the tests."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def wiring(name: str) -> list[Path]:
    """Return the files of a wiring."""
    files = (FOREIGN / name / "profiles").rglob("*")
    return sorted(path for path in files if path.suffix in (".py", ".yaml"))


def wiring_lines(name: str) -> tuple[int, int]:
    """Return the lines of Python and of YAML of a wiring, without comments and blank lines."""
    python, yaml = len(TEST_MODULE.splitlines()), 0
    for path in wiring(name):
        if path.suffix == ".py":
            python += _lines_of_code(path)
        else:
            text = path.read_text(encoding="utf-8")
            yaml += len([line for line in text.splitlines() if line.split("#")[0].strip()])
    return python, yaml


def _lines_of_code(path: Path) -> int:
    """Return the lines of a file that hold a statement other than a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if isinstance(node, ast.stmt):
            inner = getattr(node, "body", None)
            last = inner[0].lineno - 1 if inner else node.end_lineno or node.lineno
            lines |= {*range(node.lineno, max(node.lineno, last) + 1)}
    source = path.read_text(encoding="utf-8").splitlines()
    return len([number for number in lines if source[number - 1].split("#")[0].strip()])


def script_of(folder: Path) -> Path:
    """Return the script of a code: the one Python file that stands beside its wiring."""
    (script,) = (path for path in folder.glob("*.py") if path.stem != "conftest")
    return script


def locked(folder: Path, gpu: str) -> LockedProfile:
    """Return the one locked profile of a device's kind: `cpu` or `h100`."""
    (found,) = (
        one
        for one in read_lock(folder / "profiles" / "gpu-profile.lock").profiles
        if str(one.axes["gpu"]).startswith(gpu)
    )
    return found
