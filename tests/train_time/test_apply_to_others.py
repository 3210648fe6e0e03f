"""`apply` on what it cannot set: no LightningModule, no Trainer, a training of another kind."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch import LightningModule
from measurements import locked

import harness
from harness.errors import HarnessError


@pytest.mark.parametrize(
    ("module", "trainer", "settings", "expected"),
    [
        (object(), None, {}, "apply sets the attributes of a LightningModule, and object is none"),
        (LightningModule(), 3, {}, "trainer=3 is no Trainer of Lightning"),
        (
            LightningModule(),
            None,
            {"training.class_path": "work.make"},
            "net-cpu-1GiB-1 is the profile of a training without Lightning, which has no attributes",
        ),
    ],
    ids=["module", "trainer", "training"],
)
def test_what_apply_cannot_set_is_told(
    module: Any, trainer: Any, settings: dict[str, Any], expected: str
) -> None:
    """With what to read in its place."""
    with pytest.raises(HarnessError) as caught:
        harness.apply(locked(settings=settings), module, trainer=trainer)
    assert expected.split(" is the profile", 1)[-1] in str(caught.value)
