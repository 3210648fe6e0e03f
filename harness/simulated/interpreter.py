"""Finds the torch that a program will import, where the program is Python's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

_PYTHON = re.compile(r"python[\d.]*")
# A script's first lines: pip writes two where the path is too long for one.
_BEGINNING = 1024
# Of PEP 397 and distlib: `#!/path/python`, `#!/usr/bin/env python3`, or `'''exec' "/path/python"`.
_NAMED = re.compile(
    rb"^(?:#!|'''exec' )\s*\"?(?:/\S*/env\s+(?:-S\s+)?)?([^\s\"]*python[\d.]*)", re.MULTILINE
)
_QUESTION = "import importlib.util as u; s = u.find_spec('torch'); print(s.origin if s and s.origin else '')"
_WAIT_SECONDS = 60


def torch_of(program: str) -> Path | None:
    """Return the package of the torch that a Python program imports; None where nobody can tell.

    program: the path of an interpreter, or of a script that names one in its first lines, such as
    torchrun. None also stands for the torch beside this command.
    """
    interpreter = interpreter_of(program)
    if interpreter is None or _folder(interpreter) == _folder(sys.executable):
        return None
    try:
        done = subprocess.run(
            [interpreter, "-c", _QUESTION],
            check=False,
            capture_output=True,
            text=True,
            timeout=_WAIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    origin = done.stdout.strip()
    return Path(origin).parent if origin else None


def interpreter_of(program: str) -> str | None:
    """Return the path of the Python that runs a program; None where it is not Python's."""
    if _PYTHON.fullmatch(Path(program).name):
        return program
    try:
        with Path(program).open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError:
        return None
    if not beginning.startswith(b"#!") or not (named := _NAMED.search(beginning)):
        return None
    return shutil.which(named[1].decode(errors="replace"))


def _folder(interpreter: str) -> Path:
    """Return the folder of an interpreter, whose own link is not followed: a venv's is one."""
    return Path(interpreter).absolute().parent.resolve()
