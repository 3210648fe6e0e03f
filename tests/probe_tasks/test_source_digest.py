"""The digest of the code that a workload's probes run."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from projects import make_files

from harness.probe_tasks import sources
from harness.probe_tasks.sources import digest_of_sources

FILES = {
    "work.py": "STEP = 1\n",
    "losses.py": "LOSS = 1\n",
    "notes.txt": "",
    "data/tables.py": "ROWS = 1\n",
    "lib/__init__.py": "",
    "lib/deep/nets.py": "WIDTH = 1\n",
}


def module(path: Path, *, package: bool = False) -> ModuleType:
    """Return a module that was imported from a path."""
    made = ModuleType(path.stem)
    made.__file__ = str(path / "__init__.py" if package else path)
    if package:
        made.__path__ = [str(path)]
    return made


def digest(folder: Path, **more: Any) -> str | None:
    """Return the digest of a project with a module and a package."""
    modules = {"work": module(folder / "work.py"), "lib": module(folder / "lib", package=True)}
    return digest_of_sources((modules | more).items())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project."""
    return make_files(tmp_path, FILES)


@pytest.mark.parametrize("name", ["work.py", "losses.py", "lib/deep/nets.py"])
def test_change_of_a_file_beside_the_workload_changes_the_digest(project: Path, name: str) -> None:
    """Also of one that only a step imports."""
    before = digest(project)
    assert before is not None
    assert before == digest(project)
    (project / name).write_text("CHANGED = 1\n", encoding="utf-8")
    assert digest(project) not in (None, before)


def test_other_files_do_not_count(project: Path) -> None:
    """Neither do texts, nor the modules of folders that hold no package of the workload."""
    before = digest(project)
    for name in ("notes.txt", "data/tables.py"):
        (project / name).write_text("CHANGED = 1\n", encoding="utf-8")
    make_files(project, {"lib/.cache/a.py": "", "lib/env/pyvenv.cfg": "", "lib/env/b.py": ""})
    assert before == digest(project)


def test_version_of_an_installed_package_counts(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are not read."""
    installed = tmp_path_factory.mktemp("site-packages")
    folder = installed / "net-1.0.dist-info"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(installed), *sys.path])
    before = digest(project)
    folder.rename(installed / "net-1.1.dist-info")
    assert digest(project) not in (None, before)


def test_modules_without_files_of_the_project_do_not_count(project: Path) -> None:
    """Those of Python, and those that torch makes up in its own name."""
    torch = module(Path(sysconfig.get_path("purelib"), "site-packages", "torch"), package=True)
    made_up = ModuleType("torch.ops")
    made_up.__file__ = "_ops.py"
    more = {"torch": torch, "torch.ops": made_up, "json": json, "sys": sys}
    assert digest(project) == digest(project, **more)


@pytest.mark.parametrize("name", ["gone.py", "archive.zip/inner.py"])
def test_code_that_cannot_be_read_has_no_digest(project: Path, name: str) -> None:
    """Whether it has changed cannot be told."""
    assert None is digest(project, gone=module(project / name))


def test_too_much_code_has_no_digest(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it would take long."""
    monkeypatch.setattr(sources, "MAX_FILES", 3)
    assert None is digest(project)
    monkeypatch.setattr(sources, "MAX_FILES", 5000)
    monkeypatch.setattr(sources, "MAX_BYTES", 20)
    assert None is digest(project)
