"""Finds the files of configurations, and the libraries that read them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.wording import closest


def found(path: str, argument: str) -> Path:
    """Return the absolute path of a file or folder of the project.

    Raises HarnessError, which names the nearest name in its folder, when there is none.
    """
    whole = Path.cwd() / Path(path).expanduser()
    if whole.exists():
        return whole
    folder = whole.parent
    names = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    near = closest(whole.name, names)
    hint = f"did you mean {Path(path).with_name(near)}?" if near else "name one that is there"
    raise HarnessError(
        f"{argument}: {path}: there is no such file or folder in {Path.cwd()}, which relative paths "
        f"begin from; {hint}"
    )


def library(name: str, extra: str, *, needs: tuple[str, ...] = ()) -> Any:
    """Import a library. Raises HarnessError, which says how to install it, when it is missing.

    needs: packages without which it cannot work.
    """
    missing = [one for one in (name.partition(".")[0], *needs) if find_spec(one) is None]
    if missing:
        raise HarnessError(
            f"this configuration needs {' and '.join(missing)}, which is not installed: "
            f"pip install 'pytest-gpu-profile[{extra}]'"
        )
    return import_module(name)


def texts(value: Any, argument: str, example: str) -> list[str]:
    """Return a list of texts, as a matrix gives it. Raises HarnessError for anything else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return [*value]
    raise HarnessError(
        f"{argument}: {value!r:.80} is not allowed; a text or a list of texts: {example}"
    )


def in_one_line(message: str) -> str:
    """Return a library's message without its line breaks, which a table would cut at."""
    return " ".join(line.strip() for line in message.splitlines() if line.strip())
