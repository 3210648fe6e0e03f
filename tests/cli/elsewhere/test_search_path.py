"""A module path is made to lead to another checkout."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from harness.cli.elsewhere.search_path import editable_folders, move, move_entry

if TYPE_CHECKING:
    from harness.cli.elsewhere.answers import Moved

OLD, NEW = Path("/old"), Path("/new")


@pytest.mark.parametrize(
    ("entry", "moved"),
    [
        ("/old", "/new"),
        ("/old/src", "/new/src"),
        ("/older", "/older"),
        ("/elsewhere", "/elsewhere"),
        ("/old/.venv/lib/python3.11/site-packages", "/old/.venv/lib/python3.11/site-packages"),
        ("", ""),
        ("src", "src"),
    ],
)
def test_what_leads_into_the_checkout_is_moved(entry: str, moved: str) -> None:
    """What is installed stays, also where the environment lies in the checkout."""
    assert moved == move_entry(entry, OLD, NEW)


def test_standard_library_stays() -> None:
    """A Python may have been built inside of the checkout."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    assert str(stdlib) == move_entry(str(stdlib), stdlib.parent, NEW)


def test_folders_of_the_revision_come_first_and_once() -> None:
    """Then follows what led to the checkout, and what editable installations map."""
    path = ["/old", "/site-packages", "/old/lib"]
    moved: Moved = {"old": "/old", "new": "/new", "first": ["/new/src", "/new"]}
    move(moved, path, ["/old/packages"])
    assert ["/new/src", "/new", "/site-packages", "/new/lib", "/new/packages"] == path


def test_folders_of_editable_finders_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As setuptools makes them: a package's name and its folder."""
    finder = ModuleType("__editable___nets_0_1_finder")
    finder.MAPPING = {"nets": "/old/packages/nets", "odd": "/old/other"}  # type: ignore[attr-defined] # what such a module has
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    assert "/old/packages" in [*editable_folders()]
    assert "/old" not in [*editable_folders()]
