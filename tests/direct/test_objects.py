"""Objects of the caller's process reach other processes, and the caller's own stay as they are."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from harness.direct.objects import Objects, importable_path, name_of
from harness.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path


class Holder:
    """Holds a Trainer, as a data module does once it has trained."""

    def __init__(self) -> None:
        self.trainer: Any = (one for one in "cannot be copied")


def load(folder: Path, code: str) -> str:
    """Return what another process prints that has the folder in its module path."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_objects_functions_and_closures_arrive(tmp_path: Path) -> None:
    """Each call of a copy's name makes a fresh copy; a function is itself."""
    pytest.importorskip("cloudpickle")
    objects = Objects(tmp_path)
    width = 3
    layer = torch.nn.Linear(width, 1)
    made = objects.made_path("module", layer)
    again = objects.made_path("loss", torch.nn.Linear(1, 1))
    called = objects.callable_path("training", lambda: width)
    code = f"import {made.partition('.')[0]} as given\n"
    code += "one, other = given.Linear(), given.Linear()\n"
    code += "print(one is other, given.Linear_2().in_features, given.lambda_())\n"
    assert "False 1 3\n" == load(tmp_path, code)
    assert [".Linear_2", ".lambda_"] == [path[path.index(".") :] for path in (again, called)]
    assert () == objects.on_gpu


def test_trainer_of_an_object_stays_behind(tmp_path: Path) -> None:
    """It holds the whole training; the caller's object keeps it."""
    holder = Holder()
    Objects(tmp_path).made_path("data", holder)
    assert holder.trainer is not None


def test_what_cannot_be_copied_is_refused(tmp_path: Path) -> None:
    """The message names the argument, the reason, and the way round."""
    with pytest.raises(HarnessError, match=r"^data: list cannot be copied to the probes' process"):
        Objects(tmp_path).made_path("data", [(one for one in "generator")])


def test_importable_paths() -> None:
    """Of a library the short path is taken, as people write it; closures have none."""
    assert "torch.nn.CrossEntropyLoss" == importable_path(torch.nn.CrossEntropyLoss)
    assert f"{__name__}.Holder" == importable_path(Holder)
    assert importable_path(lambda: 0) is None
    assert importable_path(partial(Holder)) is None


def test_names_are_pythons() -> None:
    """Whatever an object is, the module of the objects has a name for it."""
    things = (partial(Holder), Holder(), lambda: 0, torch.zeros(1))
    assert ["Holder", "Holder", "lambda_", "Tensor"] == [name_of(thing) for thing in things]
