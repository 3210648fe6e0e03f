"""Modules that profile are told from others by their text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from projects import make_files

from harness.run.profile_modules import ProfileModules

if TYPE_CHECKING:
    from pathlib import Path

PATTERNS = ["test_*.py", "*_test.py"]
SKIPPED = [".*", "build"]
IMPORT = "from harness.testing import test_gpu_profile\n"


def below(root: Path, patterns: list[str] = PATTERNS) -> list[str]:
    """Return the profile modules below a folder, relative to it."""
    found = ProfileModules(root, patterns, SKIPPED).below(root)
    return [str(path.relative_to(root)) for path in found]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(IMPORT, id="import"),
        pytest.param("from harness.testing import test_gpu_profile as test_mine\n", id="alias"),
        pytest.param("from harness.testing import *\n", id="star"),
        pytest.param("import harness.testing\ntest = harness.testing.test_gpu_profile\n", id="dot"),
        pytest.param("from harness import testing\ntest_it = testing.test_gpu_profile\n", id="mod"),
        pytest.param("from .common import test_gpu_profile\n", id="by another module"),
        pytest.param("def test_mine(gpu_profile):\n    pass\n", id="fixture"),
        pytest.param("class TestX:\n    def test_y(self, *, gpu_profile): ...\n", id="method"),
        pytest.param("async def test_mine(gpu_profile): ...\n", id="async"),
        pytest.param('pytestmark = m.usefixtures("gpu_profile")\n', id="usefixtures"),
        pytest.param("try:\n    import torch\nfinally:\n    " + IMPORT, id="nested"),
        pytest.param("def test_mine(gpu_profile:\n", id="cannot be parsed"),
        pytest.param("\ufeff" + IMPORT, id="byte order mark"),
        pytest.param(IMPORT.replace("\n", "\r\n"), id="line ends of Windows"),
    ],
)
def test_module_that_profiles_is_one(tmp_path: Path, text: str) -> None:
    """An import of the test, or a test on the fixture, makes a profile module."""
    (tmp_path / "test_it.py").write_text(text, encoding="utf-8", newline="")
    assert ["test_it.py"] == below(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("def test_it(): ...\n", id="other test"),
        pytest.param("# gpu_profile\n" + "def test_it(): ...\n", id="comment"),
        pytest.param('"""Not on the fixture gpu_profile."""\n', id="docstring"),
        pytest.param("import raising\n\nflag = '--gpu-profile'\n", id="flag"),
        pytest.param("import harness\nfrom harness import load_profile\n", id="train time"),
        pytest.param("import gpu_profiler\n", id="longer name"),
        pytest.param("def test_it(:\n", id="cannot be parsed, and mentions nothing"),
        pytest.param("\0\0\0", id="binary"),
        pytest.param("", id="empty"),
    ],
)
def test_other_module_is_none(tmp_path: Path, text: str) -> None:
    """A mention in a comment or another word is no use of the fixture."""
    (tmp_path / "test_it.py").write_text(text, encoding="utf-8")
    assert [] == below(tmp_path)


def test_only_folders_and_names_of_test_modules_count(tmp_path: Path) -> None:
    """Modules are found at any depth, by `python_files`, outside of `norecursedirs` and venvs."""
    root = make_files(
        tmp_path,
        {
            "a/b/test_it.py": IMPORT,
            "a/it_test.py": IMPORT,
            "a/it.py": IMPORT,
            ".hidden/test_it.py": IMPORT,
            "build/test_it.py": IMPORT,
            "venv/pyvenv.cfg": "",
            "venv/test_it.py": IMPORT,
            "checks/it.py": IMPORT,
        },
    )
    os.mkfifo(root / "a" / "test_pipe.py")
    (root / "a" / "up").symlink_to(root)
    (root / "linked").symlink_to(root / "a" / "b")
    assert ["a/b/test_it.py", "a/it_test.py", "linked/test_it.py"] == below(root)
    assert ["checks/it.py"] == below(root, ["checks/*.py"])


def test_fixtures_of_conftests_count_below_them(tmp_path: Path) -> None:
    """A fixture that a conftest.py bases on `gpu_profile` makes profile modules below it."""
    root = make_files(
        tmp_path,
        {
            "conftest.py": (
                "import pytest\n\n@pytest.fixture\ndef tuned(gpu_profile): ...\n\n"
                "@pytest.fixture(name='best')\ndef make_best(tuned): ...\n"
            ),
            "a/conftest.py": "def again(best): ...\n",
            "a/test_again.py": "def test_it(again): ...\n",
            "test_best.py": "def test_it(best): ...\n",
            "test_tuned.py": "def test_it(tuned): ...\n",
            "test_again.py": "def test_it(again): ...\n",
            "test_other.py": "def test_it(tmp_path): ...  # tuned\n",
        },
    )
    assert ["a/test_again.py", "test_best.py", "test_tuned.py"] == below(root)
