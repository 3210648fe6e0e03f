"""Makes an environment as a layer over the present one: what a requirement changes, and no more.

The layer is a virtual environment with the packages that the requirement replaces. All others are
found in the present one, which is read and never written. Pip decides what is replaced, because it
leaves installed what still meets every need, also outside of the layer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.environments.requirements import is_met, is_path, path_of, words_of
from harness.errors import HarnessError
from harness.simulated.library import cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SITES = ("site-packages", "dist-packages")
_COMPLETE = "layer.json"
# Torch looks for CUDA's libraries beside itself.
_OF_TORCH = re.compile(r"(nvidia|cuda|triton)\b", re.IGNORECASE)
# These would lead pip elsewhere.
_MISLEADING = ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "PIP_PYTHON")
_SAID_LINES = 6
_MAX_SECONDS = 3600.0


@dataclass(frozen=True)
class Layer:
    """An environment that meets a requirement."""

    python: str
    """The path of its Python."""
    replaced: dict[str, str]
    """The version of each package that is installed in the layer; empty if nothing was needed."""
    conflicts: tuple[str, ...] = ()
    """What pip finds broken in it, and not in the present environment."""


def layer_of(text: str) -> Layer:
    """Return an environment that meets requirements and is else the present one.

    It is kept in the user's cache, unless a requirement is a path. Where the present environment
    meets all of them, it is that one.

    Raises HarnessError for what is no requirement, and where it cannot be installed.
    """
    words = [path_of(word) if is_path(word) else word for word in words_of(text)]
    if all(map(is_met, words)):
        return Layer(sys.executable, {})
    home = cache() / "environments"
    folder = home / _key(words)
    if (folder / _COMPLETE).exists() and not any(map(is_path, words)):
        return _read(folder)
    home.mkdir(parents=True, exist_ok=True)
    # Made in its place: a virtual environment cannot be moved. A run that is ended leaves none.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _make(folder, words)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return _read(folder)


def _key(words: Sequence[str]) -> str:
    installed = sorted(f"{one.name}=={one.version}" for one in distributions())
    parts = (*sorted(words), sys.version, sys.prefix, *installed)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _make(folder: Path, words: Sequence[str]) -> None:
    has_pip = find_spec("pip") is not None
    without = ["--without-pip"] if has_pip else []
    _run([sys.executable, "-m", "venv", *without, str(folder)], "python -m venv")
    site = _site(folder)
    present = [one for one in sys.path if Path(one).name in _SITES]
    # Behind the layer's own packages; files `.pth` there count, so editable projects are found.
    (site / "present.pth").write_text(
        "".join(f"import site; site.addsitedir({one!r})\n" for one in present), encoding="utf-8"
    )
    python = _python(folder)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-color"]
    install = [*pip, "install", "--quiet", "--no-warn-script-location"]
    _run([*install, *words], f"pip install {' '.join(words)}")
    if missing := list(_beside_torch(python, site)):
        wanted = [*install, "--no-deps", "--ignore-installed", *missing]
        _run(wanted, "pip install, of what torch needs beside itself,")
    replaced = {one.name: one.version for one in distributions(path=[str(site)])}
    for name in ("pip", "setuptools"):
        if not any(word.startswith(name) for word in words):
            replaced.pop(name, None)
    known = {*_broken([sys.executable, "-m", "pip"])} if has_pip else set()
    conflicts = [one for one in _broken(pip) if one not in known]
    (folder / _COMPLETE).write_text(
        json.dumps({"replaced": dict(sorted(replaced.items())), "conflicts": conflicts}),
        encoding="utf-8",
    )


def _read(folder: Path) -> Layer:
    found = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
    return Layer(_python(folder), found["replaced"], tuple(found["conflicts"]))


def _python(folder: Path) -> str:
    return str(folder / "bin" / "python")


def _site(folder: Path) -> Path:
    return next((folder / "lib").glob("python*/site-packages"))


# Prints the packages that torch needs of those whose names the argument matches, with versions.
_NEEDS = """
import re, sys
from importlib.metadata import distribution, PackageNotFoundError
from packaging.requirements import Requirement
seen, rest = {}, [("torch", frozenset())]
while rest:
    name, extras = rest.pop()
    try:
        found = distribution(name)
    except PackageNotFoundError:
        continue
    if (name, extras) in seen:
        continue
    seen[name, extras] = found.version
    for text in found.requires or ():
        need = Requirement(text)
        applies = need.marker is None or any(
            need.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if applies and re.match(sys.argv[1], need.name, re.IGNORECASE):
            rest.append((need.name, frozenset(need.extras)))
for (name, _), version in seen.items():
    print(f"{name}=={version}")
"""


def _beside_torch(python: str, site: Path) -> Iterator[str]:
    """Yield what a torch of the layer needs beside itself, and is in the present environment."""
    there = {_plain(one.name) for one in distributions(path=[str(site)])}
    if "torch" not in there:
        return
    listed = _run([python, "-c", _NEEDS, _OF_TORCH.pattern], "reading what torch needs")
    for line in dict.fromkeys(listed.splitlines()):
        if _plain(line.partition("==")[0]) not in there:
            yield line


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _broken(pip: Sequence[str]) -> list[str]:
    """Return what `pip check` finds broken in an environment."""
    done = subprocess.run(
        [*pip, "check"], env=_environment(), capture_output=True, text=True, check=False
    )
    return [line for line in done.stdout.splitlines() if line.strip()] if done.returncode else []


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _MISLEADING}


def _run(command: Sequence[str], what: str) -> str:
    """Run a program to its end. Raises HarnessError, with what it says, where it fails.

    what: what it does, for the message.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        done = subprocess.run(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            check=False,
            timeout=_MAX_SECONDS,
        )
        if done.returncode:
            said.seek(0)
            lines = [line.strip() for line in said.read().splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR:")] or lines
            raise HarnessError("\n".join([f"{what} fails:", *errors[-_SAID_LINES:]]))
        return done.stdout
