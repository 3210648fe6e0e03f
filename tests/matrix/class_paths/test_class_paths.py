"""Class paths are checked from source files alone."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.matrix.class_paths import ClassPaths, Lookup

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = {
    "shop/__init__.py": """
from typing import TYPE_CHECKING
from shop.impl import Net as Model, make
from .parts import *
from . import parts as alias
if TYPE_CHECKING:
    from shop.impl import OnlyForTypes
try:
    from fast import Quick
except ImportError:
    from shop.impl import Slow as Quick
""",
    "shop/impl.py": """
import os.path as paths
import shop.parts
class Net:
    @classmethod
    def from_config(cls): ...
def make(): ...
class Slow: ...
maker, other = make, lambda: (inside := 1)
declared: int
late: int = 3
with open(__file__) as handle: pass
for index in (): pass
def setup():
    local = 1
    global made_by_setup
    made_by_setup = local
""",
    "shop/parts.py": """
from .deep.leaf import *
from .deep import branch
from shop import *
class Part: ...
""",
    "shop/deep/leaf.py": "async def leaf(): ...\n",
    "shop/deep/branch.py": "from .. import parts\nfrom ..impl import Net as Parent\n",
    "bottomless.py": "x = " + "-" * 5000 + "1\nclass Net: ...\n",
    "lazy/__init__.py": "def __getattr__(name): ...\n",
    "attached.py": "__getattr__, __dir__, __all__ = attach(__name__)\n",
    "registry.py": "import sys\nsys.modules[__name__] = object()\n",
    "globby.py": "globals()['Made'] = 1\n",
    "half.py": "from not_installed_at_all import *\n",
    "broken.py": "class Net(:\n",
    "escape.py": "pattern = '\\d'\nclass Net: ...\n",
    "latin.py": "# -*- coding: ascii -*-\n# caf\u00e9\nclass Net: ...\n",
    "spaces/inner/module.py": "class Net: ...\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> ClassPaths:
    """Return the ClassPaths of a folder of modules that must never be imported."""
    for name, source in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return ClassPaths([str(tmp_path)])


@pytest.mark.parametrize(
    "class_path",
    [
        "torch.nn.CrossEntropyLoss",
        "torch.optim.AdamW",
        "lightning.pytorch.LightningModule",
        "os.path.join",
        "json.JSONDecoder.decode",
        "concurrent.futures.ThreadPoolExecutor",
        "harness.synthetic.SyntheticImages",
    ],
)
def test_what_installed_packages_have_is_ok(class_path: str) -> None:
    """Names behind star imports, modules under other names and methods of classes are found."""
    assert Lookup("ok") == ClassPaths().check(class_path)


@pytest.mark.parametrize(
    "class_path",
    [
        "math.sqrt",
        "builtins.dict",
        "sys.exit",
        "transformers.GPT2Config",
        "torch.int8",
        "_csv.reader",
    ],
)
def test_what_only_running_would_tell_is_undecided(class_path: str) -> None:
    """Built-in modules, extension modules and modules with a __getattr__ are undecided."""
    assert Lookup("undecided") == ClassPaths().check(class_path)


@pytest.mark.parametrize(
    ("class_path", "expected"),
    [
        (
            "torch.nn.CrossEntropyLos",
            "cannot be imported: torch.nn has no CrossEntropyLos; did you mean CrossEntropyLoss?",
        ),
        ("torch.optm.AdamW", None),
        (
            "json.JSONDecodr",
            "cannot be imported: json has no JSONDecodr; did you mean JSONDecoder?",
        ),
        (
            "json.decodr.JSONDecoder",
            "cannot be imported: json has no decodr; did you mean decoder?",
        ),
        (
            "tourch.nn.Linear",
            (
                "cannot be imported: there is no module tourch; did you mean torch?"
                " (pytest's ini key pythonpath adds folders to the module path)"
            ),
        ),
        ("json.decoder", "json.decoder is a module: name a class or function in it"),
        ("json", "json is a module: name a class or function in it"),
    ],
)
def test_what_is_missing_names_what_is_like_it(class_path: str, expected: str | None) -> None:
    """A missing attribute, submodule or package is reported with the nearest name.

    torch is lazy, so a missing submodule of it is undecided.
    """
    assert (Lookup("missing", expected) if expected else Lookup("undecided")) == ClassPaths().check(
        class_path
    )


@pytest.mark.parametrize(
    ("class_path", "answer"),
    [
        ("shop.Model", "ok"),
        ("shop.Model.from_config", "ok"),
        ("shop.make", "ok"),
        ("shop.make.attribute", "undecided"),
        ("shop.Part", "ok"),
        ("shop.leaf", "ok"),
        ("shop.alias.Part", "ok"),
        ("shop.alias.Nothing", "undecided"),
        ("shop.Quick", "ok"),
        ("shop.Net", "missing"),
        ("shop.OnlyForTypes", "missing"),
        ("shop.impl.Net", "ok"),
        ("shop.impl.maker", "ok"),
        ("shop.impl.other", "ok"),
        ("shop.impl.inside", "missing"),
        ("shop.impl.declared", "missing"),
        ("shop.impl.late", "ok"),
        ("shop.impl.late.real", "undecided"),
        ("shop.impl.handle", "ok"),
        ("shop.impl.index", "ok"),
        ("shop.impl.local", "missing"),
        ("shop.impl.made_by_setup", "ok"),
        ("shop.impl.paths.join", "ok"),
        ("shop.impl.shop.Model", "ok"),
        ("shop.parts.leaf", "ok"),
        ("shop.parts.Nothing", "missing"),
        ("shop.deep.leaf.leaf", "ok"),
        ("shop.deep.branch.parts.Part", "ok"),
        ("shop.deep.branch.Parent.from_config", "ok"),
        ("bottomless.Nett", "undecided"),
        ("shop.deep.leaf", "missing"),
        ("shop.deep.twig.leaf", "missing"),
        ("lazy.Anything", "undecided"),
        ("attached.Anything", "undecided"),
        ("registry.Anything", "undecided"),
        ("globby.Made", "undecided"),
        ("half.Anything", "undecided"),
        ("broken.Net", "missing"),
        ("escape.Net", "ok"),
        ("latin.Net", "undecided"),
        ("spaces.inner.module.Net", "ok"),
        ("spaces.inner.module.Nett", "missing"),
        ("spaces.outer.module.Net", "missing"),
    ],
)
def test_names_are_read_as_python_would_bind_them(
    shop: ClassPaths, class_path: str, answer: str
) -> None:
    """Definitions, assignments, imports and namespace packages bind names as in Python."""
    assert answer == shop.check(class_path).answer


def test_a_syntax_error_is_shown_with_its_place(shop: ClassPaths, tmp_path: Path) -> None:
    """A syntax error in a module is reported with the file and the line."""
    message = shop.check("broken.Net").message
    assert message.startswith(f"cannot be imported: {tmp_path / 'broken.py'}, line 1: ")


def test_folders_that_are_given_come_before_the_others(tmp_path: Path) -> None:
    """The folders that are given are searched before `sys.path`."""
    (tmp_path / "json.py").write_text("class Mine: ...\n", encoding="utf-8")
    assert (Lookup("ok"), "missing") == (
        ClassPaths([str(tmp_path)]).check("json.Mine"),
        ClassPaths().check("json.Mine").answer,
    )


def test_an_empty_entry_is_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty entry, as `sys.path` has with `python -c`, is the working directory."""
    (tmp_path / "here_only.py").write_text("class Net: ...\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert Lookup("ok") == ClassPaths([""]).check("here_only.Net")


def test_nothing_is_imported() -> None:
    """Checking class paths imports neither torch nor the modules that are looked up."""
    code = (
        "import sys\n"
        "from harness.matrix.cases import load_matrix\n"
        "from harness.matrix.class_paths import ClassPaths\n"
        "names = ('torch.nn.Linear', 'sklearn.datasets.load_digits')\n"
        "paths = ClassPaths(); [paths.check(name) for name in names]\n"
        "print(sorted({'torch', 'sklearn', 'lightning', 'pytest', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
