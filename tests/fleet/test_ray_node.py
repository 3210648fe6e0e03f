"""A worker of Ray on a node, without Ray."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from harness.fleet.ray_node import enter_the_project

if TYPE_CHECKING:
    import pytest


def test_worker_goes_back_to_a_copy_that_was_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node on its machine has replaced the folder in which the worker began."""
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("PWD", str(copy))
    shutil.rmtree(copy)
    copy.mkdir()
    (copy / "train.py").touch()
    enter_the_project()
    assert (copy, ["train.py"]) == (Path.cwd(), [one.name for one in Path().iterdir()])
