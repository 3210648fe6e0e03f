"""What doctor says of Python, the dependencies and torch."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
from doctor import not_ok
from nvml_stub import gpu, told, world
from projects import make_files

from harness.doctor import findings as limits
from harness.doctor import installation

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project


def test_package_called_harness_shadows_this_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of the user's at the root is found before this one: it is to be renamed."""
    monkeypatch.chdir(project.path)
    assert [] == not_ok(installation.python)
    make_files(project.path, {"harness/__init__.py": ""})
    expected = (
        "harness/__init__.py shadows this package, which is called harness, too "
        "-> rename yours, or move it into another package of yours"
    )
    assert [("wrong", expected)] == not_ok(installation.python)


def test_dependencies_of_this_environment_are_right() -> None:
    """What the tests run with is what the package needs."""
    assert [] == not_ok(installation.requirements)


@pytest.mark.parametrize(
    ("version", "found"),
    [("1.9.0", "lightning is 1.9.0"), (None, "lightning is not installed")],
)
def test_dependency_that_is_old_or_missing_is_wrong(
    monkeypatch: pytest.MonkeyPatch, version: str | None, found: str
) -> None:
    """The command that installs it is told."""
    real = metadata.version

    def installed(name: str) -> str:
        if name == "lightning":
            if version is None:
                raise metadata.PackageNotFoundError(name)
            return version
        return real(name)

    monkeypatch.setattr(metadata, "version", installed)
    expected = f"{found}, and pytest-gpu-profile needs lightning>=2.4"
    assert [("wrong", f"{expected} -> `pip install 'lightning>=2.4'`")] == not_ok(
        installation.requirements
    )


def stand_in(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a torch of this code before the installed one, for child processes alone."""
    make_files(folder, {"torch/__init__.py": code})
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_torch_that_cannot_be_imported_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line of the error is told, harmless, with the command that shows all of it."""
    stand_in(tmp_path, "raise ImportError('libc10.so: \\x1b[31mnot found')", monkeypatch)
    ((level, text),) = not_ok(installation.torch)
    assert "wrong" == level
    assert "torch cannot be imported: ImportError: libc10.so: \\x1b[31mnot found -> `pip" in text


def test_import_of_torch_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is given a time."""
    stand_in(tmp_path, "import signal; signal.pause()", monkeypatch)
    monkeypatch.setattr(limits, "CHILD_SECONDS", 0.5)
    ((level, text),) = not_ok(installation.torch)
    assert "wrong" == level
    assert "`import torch` has not ended after" in text


def test_child_may_take_less_time_than_its_check() -> None:
    """Otherwise the check would be given up, and its child left behind."""
    assert limits.CHILD_SECONDS < limits.CHECK_SECONDS


@pytest.mark.parametrize(
    ("cuda", "level", "text"),
    [
        ("'13.0'", "wrong", "is built for CUDA 13.0, and the driver supports up to 12.4"),
        ("'12.8'", "ok", "torch 2.9.0+x, built for CUDA 12.8; the driver supports up to 12.4"),
        ("None", "wrong", "is a build without CUDA, and this machine has a GPU"),
    ],
)
def test_torch_is_compared_with_the_driver(
    tmp_path: Path, cuda: str, level: str, text: str
) -> None:
    """Within one major version each driver runs each build; a newer major needs a newer driver."""
    code = (
        "from types import SimpleNamespace as S\n__version__ = '2.9.0+x'\n"
        f"version = S(cuda={cuda}, hip=None)\ncuda = S(init=lambda: None)\n"
    )
    make_files(tmp_path, {"torch/__init__.py": code})
    script = "from harness.doctor.installation import torch\ntell(lambda: [*torch(None)])"
    path = ":".join([str(tmp_path), *sys.path])
    ((one,),) = told(script, world(tmp_path, [gpu()], cuda=12040), PYTHONPATH=path)
    assert level == one["level"]
    assert text in one["found"]
