"""Imports from another checkout are refused, whatever leads there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.workload.import_guard import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

_GUARDED = "from harness.workload.import_guard import guard\nguard()\n"


def run(code: str, tmp_path: Path, *forbidden: Path, first: str = _GUARDED) -> str:
    """Run code in a Python that finds `old` and `new`; return its output, or its last line."""
    places = [str(tmp_path / "new"), str(tmp_path / "old"), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", first + code],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(places), VARIABLE: os.pathsep.join(map(str, forbidden))},
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout or done.stderr).strip().splitlines()[-1]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Make an old and a new checkout: `both` is in both, `gone` in the old one alone."""
    for name in (
        "old/both.py",
        "old/gone.py",
        "new/both.py",
        "old/site-packages/lib.py",
        "old/parts/gone.py",
        "new/parts/here.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("place = __file__\n", encoding="utf-8")
    return tmp_path / "old"


def test_module_of_the_other_checkout_is_refused(old: Path, tmp_path: Path) -> None:
    """`except ImportError` does not hide it: the training would be another one."""
    code = "try:\n    import gone\nexcept ImportError:\n    print('hidden')\n"
    assert (
        "harness.workload.import_guard.ForeignImportError: gone would be imported from "
        f"{old}/gone.py, which is not of this revision: an installation leads there"
    ) == run(code, tmp_path, old)


def test_other_modules_are_imported(old: Path, tmp_path: Path) -> None:
    """What is found elsewhere first, and what is installed inside of the checkout, is allowed."""
    assert f"{tmp_path}/new/both.py" == run("import both; print(both.place)", tmp_path, old)
    code = f"import sys; sys.path.append('{old}/site-packages'); import lib; print(lib.place)"
    assert f"{old}/site-packages/lib.py" == run(code, tmp_path, old)


def test_parts_of_a_namespace_package_are_told_apart(old: Path, tmp_path: Path) -> None:
    """Its folders are in both checkouts; each module is judged by its own file."""
    code = "import parts.here; print(parts.here.place)"
    assert f"{tmp_path}/new/parts/here.py" == run(code, tmp_path, old)
    assert "ForeignImportError: parts.gone" in run("import parts.gone", tmp_path, old)


def test_copy_that_was_installed_from_the_checkout_is_refused(old: Path, tmp_path: Path) -> None:
    """Such packages and modules are named one by one."""
    code = f"import sys; sys.path.append('{old}/site-packages'); import lib"
    assert "ForeignImportError: lib" in run(code, tmp_path, old / "site-packages" / "lib.py")


def test_module_that_was_imported_before_is_refused(old: Path, tmp_path: Path) -> None:
    """A file `.pth` imports at the start of Python."""
    found = run("", tmp_path, old, first="import gone\n" + _GUARDED)
    assert "ForeignImportError: gone would be imported" in found


def test_without_the_variable_nothing_changes(old: Path, tmp_path: Path) -> None:
    """Probes of other verbs have no guard."""
    assert f"{old}/gone.py" == run("import gone; print(gone.place)", tmp_path)
